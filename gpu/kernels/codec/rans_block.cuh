// Frequency tables of order-0 coding (common/compress/code/rans_table.h) by the threads of one block.
#ifndef DECANT_GPU_KERNELS_CODEC_RANS_BLOCK_CUH_
#define DECANT_GPU_KERNELS_CODEC_RANS_BLOCK_CUH_

#include <cstdint>

#include "common/compress/arith/rans.h"
#include "gpu/device/block.cuh"
#include "gpu/device/cuda_kernel.h"
#include "gpu/device/warp.cuh"

namespace decant {

inline constexpr int kRansThreads = 256;  // one a symbol
inline constexpr int32_t kRansAlphabet = 256;
inline constexpr int32_t kRansTableRoom = 2 + 2 * 255;

// The best symbol for one step of its frequency, over a warp that holds eight symbols a lane; -1: none.
__device__ __forceinline__ int32_t BestStep(const uint32_t* counts, const uint32_t* frequencies, bool up) {
  double best = 0.0;
  int32_t symbol = -1;
  for (int32_t s = LaneOf(); s < kRansAlphabet; s += kWarpLanes) {
    if (counts[s] == 0 || (!up && frequencies[s] == 1)) continue;
    const double gain = RansStepGain(counts[s], frequencies[s], up);
    if (symbol < 0 || (up ? gain > best : gain < best)) {
      best = gain;
      symbol = s;
    }
  }
  for (int step = kWarpLanes / 2; step > 0; step /= 2) {
    const double other = __shfl_xor_sync(kAllLanes, best, step);
    const int32_t other_symbol = __shfl_xor_sync(kAllLanes, symbol, step);
    const bool better = up ? other > best : other < best;
    if (other_symbol >= 0 && (symbol < 0 || better || (other == best && other_symbol < symbol))) {
      best = other;
      symbol = other_symbol;
    }
  }
  return symbol;
}

// ScaleCounts. counts and frequencies: shared [kRansAlphabet].
__device__ inline void ScaleCounts(const uint32_t* counts, uint32_t total, uint32_t* frequencies) {
  const auto symbol = static_cast<int32_t>(threadIdx.x);
  const uint32_t own = RansShare(counts[symbol], total);
  frequencies[symbol] = own;
  int32_t missing = static_cast<int32_t>(kRansScale) - BlockSum<kRansThreads>(static_cast<int32_t>(own));
  if (WarpOf() == 0) {
    while (missing != 0) {
      const bool up = missing > 0;
      const int32_t best = BestStep(counts, frequencies, up);
      __syncwarp();
      if (LaneOf() == 0) frequencies[best] += up ? 1u : ~0u;
      __syncwarp();
      missing += up ? -1 : 1;
    }
  }
  __syncthreads();
  const bool alone = frequencies[symbol] == kRansScale;
  __syncthreads();
  if (alone) {
    frequencies[symbol] = kRansScale - 1;
    frequencies[symbol ^ 1] = 1;
  }
  __syncthreads();
}

// The sum of frequencies before each symbol.
__device__ __forceinline__ uint32_t StartOfSymbol(const uint32_t* frequencies) {
  return BlockExclusiveScan<kRansThreads>(frequencies[threadIdx.x]).before;
}

// WriteRansTable into shared [kRansTableRoom]; returns its bytes.
__device__ inline int32_t WriteTable(const uint32_t* frequencies, uint8_t* table) {
  const auto symbol = static_cast<int32_t>(threadIdx.x);
  const uint32_t frequency = frequencies[symbol];
  const int32_t first = BlockReduce<kRansThreads>(frequency > 0 ? symbol : kRansAlphabet, kRansAlphabet,
                                                  [](int32_t a, int32_t b) { return a < b ? a : b; });
  const int32_t last =
      BlockReduce<kRansThreads>(frequency > 0 ? symbol : -1, -1, [](int32_t a, int32_t b) { return a > b ? a : b; });
  const bool stored = symbol >= first && symbol < last;
  const int32_t bytes = stored ? (frequency >= 128 ? 2 : 1) : 0;
  const BlockScan<int32_t> scan = BlockExclusiveScan<kRansThreads>(bytes);
  uint8_t* const at = table + 2 + scan.before;
  if (bytes == 2) at[0] = static_cast<uint8_t>(0x80u | (frequency & 0x7fu));
  if (bytes > 0) at[bytes - 1] = static_cast<uint8_t>(bytes == 2 ? frequency >> 7 : frequency);
  if (symbol == 0) {
    table[0] = static_cast<uint8_t>(first);
    table[1] = static_cast<uint8_t>(last);
  }
  __syncthreads();
  return 2 + scan.total;
}

// ReadRansTable of the first `size` bytes of shared `table`; the bytes it takes, or -1 for what is no table. By one
// thread: where a number begins depends on those before it.
__device__ inline int32_t ReadTable(const uint8_t* table, int32_t size, int32_t alphabet, uint32_t* frequencies) {
  if (size < 2) return -1;
  const int32_t first = table[0];
  const int32_t last = table[1];
  if (first >= last || last >= alphabet) return -1;
  for (int32_t s = 0; s < kRansAlphabet; ++s) frequencies[s] = 0;
  int32_t next = 2;
  uint32_t sum = 0;
  for (int32_t s = first; s < last; ++s) {
    uint32_t frequency = 0x80u;
    if (next < size) frequency = table[next++];
    if (frequency >= 0x80u) {
      if (next >= size) return -1;
      frequency = (frequency & 0x7fu) | uint32_t{table[next++]} << 7;
    }
    sum += frequency;
    if (sum >= kRansScale) return -1;
    frequencies[s] = frequency;
  }
  if (sum == 0) return -1;
  frequencies[last] = kRansScale - sum;
  return next;
}

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_CODEC_RANS_BLOCK_CUH_
