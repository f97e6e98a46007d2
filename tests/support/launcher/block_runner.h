// Runs the blocks of one launch after another; each thread of a block is a fiber, so that barriers, shuffles, ballots
// and atomics keep their meaning.
//
// Threads are run greedily: one warp until it can go no further, then the next, which opens the widest window for a
// barrier that is missing. Dynamic shared memory is filled with bytes 0xff before every block. A block in which nobody
// can go on, lanes of a warp that wait for each other in different operations, and a lane that is not in its own mask
// end the process with one line.
#ifndef DECANT_TESTS_SUPPORT_LAUNCHER_BLOCK_RUNNER_H_
#define DECANT_TESTS_SUPPORT_LAUNCHER_BLOCK_RUNNER_H_

#include <cstddef>
#include <cstdint>
#include <functional>

#include "tests/support/launcher/access_recorder.h"
#include "tests/support/launcher/cuda_types.h"

namespace decant::launcher {

// In which order warps take turns, and the blocks of a grid run one after another.
enum class WarpOrder { kForward, kReverse, kRandom };

struct LaunchRequest {
  const char* kernel = "";
  dim3 grid;
  dim3 block;
  size_t shared_bytes = 0;
  WarpOrder order = WarpOrder::kForward;
  uint64_t seed = 1;                   // of kRandom
  AccessRecorder* recorder = nullptr;  // none: nothing is recorded
  // Global memory: Load and Store of anything else end the process.
  const void* memory = nullptr;
  int64_t memory_bytes = 0;
};

// Runs `thread` for every thread of every block. One launch runs at a time; others wait.
void RunLaunch(const LaunchRequest& request, const std::function<void()>& thread);

// What follows is for the thread that runs just now.
struct ThreadPlace {
  uint3 thread{0, 0, 0};
  uint3 block{0, 0, 0};
  dim3 block_size;
  dim3 grid_size;
  int32_t lane = 0;
};
extern ThreadPlace place;

void* DynamicShared();

void SyncBlock(const char* operation);
// The sum of `value` over the threads of the block.
int32_t SumOverBlock(int32_t value, const char* operation);

void SyncWarp(uint32_t mask);
// Lanes of one mask show each other a value.
struct Gathered {
  const uint64_t* values;  // [32], by lane; stays until this lane shows another value under the same mask
  uint32_t lanes;          // that took part: the mask without those that have ended
};
Gathered GatherOverWarp(uint32_t mask, uint64_t value, const char* operation);
// The lanes of the warp that have not ended.
uint32_t LiveLanes();

void RecordAccess(const void* address, int64_t bytes, int64_t alignment, bool write, const char* file, int line);

}  // namespace decant::launcher

#endif  // DECANT_TESTS_SUPPORT_LAUNCHER_BLOCK_RUNNER_H_
