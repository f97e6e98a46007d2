// Kernels that show what the launcher does, right and wrong.
#ifndef DECANT_TESTS_SUPPORT_LAUNCHER_PROBE_KERNELS_H_
#define DECANT_TESTS_SUPPORT_LAUNCHER_PROBE_KERNELS_H_

#include <cstdint>

#include "gpu/device/device.h"

namespace decant::probe {

// out[32] per step: under 0xffff the lower lanes exchange once, then all 32 do; each writes what the lane before it
// showed.
void PartialMaskThenFull(Stream& stream, int32_t* out);
// out[threads]: the sum of in[0 .. threads) through shared memory, with or without the barrier that it needs.
void SumThroughShared(Stream& stream, const int32_t* in, int32_t threads, bool with_barrier, int64_t* out);
// out[kWarpWords]: one word for every warp operation, see the test.
inline constexpr int kWarpWords = 14;
void WarpOperations(Stream& stream, int32_t* out);
// out[blocks * threads]: {thread x, y, z, block x, y, z} of each, and how many were even, all, any by block.
void Places(Stream& stream, int32_t* out, int64_t* votes);
// out[threads * 2]: the exclusive sum and the total of in, by block.cuh.
void BlockScan256(Stream& stream, const int32_t* in, int32_t* out);
// Every thread adds its value; counts[8]: add, max, min, or, and, exchange count, compare-and-swap winners, float sum.
void Atomics(Stream& stream, uint32_t* counts);
// out[2]: what dynamic shared memory held before anybody wrote to it, in two blocks that both write to it.
void FreshShared(Stream& stream, uint32_t* out);
// One load of `width` bytes by each of 32 lanes, `stride` bytes apart.
void Strided(Stream& stream, const uint8_t* in, int32_t stride, int32_t width, uint8_t* out);
// Lane l loads l words.
void Ragged(Stream& stream, const int32_t* in, int32_t* out);

// Each ends the process.
void Deadlock(Stream& stream);
void MixedOperations(Stream& stream);
void NotInOwnMask(Stream& stream);
void OutOfMemory(Stream& stream, int32_t* out, const int32_t* elsewhere);
void Misaligned(Stream& stream, const uint8_t* in, int32_t* out);
void TooManyThreads(Stream& stream);
// Reads word `at[0]` of four in shared memory.
void PastShared(Stream& stream, const int32_t* at, int32_t* out);
void PastDynamicShared(Stream& stream, const int32_t* at, int32_t* out);
void ShiftTooFar(Stream& stream, const int32_t* by, int32_t* out);

}  // namespace decant::probe

#endif  // DECANT_TESTS_SUPPORT_LAUNCHER_PROBE_KERNELS_H_
