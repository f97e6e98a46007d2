// What the threads of one block do together: blocks of kThreads in one dimension, a multiple of 32 up to 1024. All
// threads call, and all get the result. A function may be called again at once: each ends with a barrier.
#ifndef DECANT_GPU_DEVICE_BLOCK_CUH_
#define DECANT_GPU_DEVICE_BLOCK_CUH_

#include <cstdint>

#include "gpu/device/cuda_kernel.h"
#include "gpu/device/warp.cuh"

namespace decant {

// Combines over the block in a fixed order: f over the lanes of each warp, then over the warps. `neutral` changes
// nothing.
template <int kThreads, typename T, typename F>
__device__ __forceinline__ T BlockReduce(T value, T neutral, const F& f) {
  constexpr int kWarps = kThreads / kWarpLanes;
  __shared__ T parts[kWarps];
  value = WarpReduce(value, f);
  if (LaneOf() == 0) parts[WarpOf()] = value;
  __syncthreads();
  value = WarpReduce(LaneOf() < kWarps ? parts[LaneOf()] : neutral, f);
  __syncthreads();
  return value;
}
template <int kThreads, typename T>
__device__ __forceinline__ T BlockSum(T value) {
  return BlockReduce<kThreads>(value, T{0}, [](T a, T b) { return a + b; });
}

template <typename T>
struct BlockScan {
  T before;  // the sum over the threads before this one
  T total;   // and over all
};
template <int kThreads, typename T>
__device__ __forceinline__ BlockScan<T> BlockExclusiveScan(T value) {
  constexpr int kWarps = kThreads / kWarpLanes;
  __shared__ T parts[kWarps];
  const T inclusive = WarpInclusiveScan(value);
  if (LaneOf() == kWarpLanes - 1) parts[WarpOf()] = inclusive;
  __syncthreads();
  const T warps = WarpInclusiveScan(LaneOf() < kWarps ? parts[LaneOf()] : T{0});
  const T before = __shfl_sync(kAllLanes, warps, WarpOf() == 0 ? 0 : WarpOf() - 1);
  const T total = __shfl_sync(kAllLanes, warps, kWarps - 1);
  __syncthreads();
  return BlockScan<T>{(WarpOf() == 0 ? T{0} : before) + inclusive - value, total};
}

}  // namespace decant

#endif  // DECANT_GPU_DEVICE_BLOCK_CUH_
