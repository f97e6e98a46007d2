// What the lanes of one warp do together. All lanes call, and all get the result; sums go in a fixed order.
#ifndef DECANT_GPU_DEVICE_WARP_CUH_
#define DECANT_GPU_DEVICE_WARP_CUH_

#include <cstdint>

#include "gpu/device/cuda_kernel.h"

namespace decant {

// For blocks of one dimension.
__device__ __forceinline__ int32_t LaneOf() { return static_cast<int32_t>(threadIdx.x % kWarpLanes); }
__device__ __forceinline__ int32_t WarpOf() { return static_cast<int32_t>(threadIdx.x / kWarpLanes); }

// Combines over groups of `lanes` neighbours, a power of two up to 32; f is commutative.
template <typename T, typename F>
__device__ __forceinline__ T WarpReduce(T value, const F& f, int lanes = kWarpLanes) {
  for (int step = lanes / 2; step > 0; step /= 2) value = f(value, __shfl_xor_sync(kAllLanes, value, step));
  return value;
}
template <typename T>
__device__ __forceinline__ T WarpSum(T value, int lanes = kWarpLanes) {
  return WarpReduce(
      value, [](T a, T b) { return a + b; }, lanes);
}
template <typename T>
__device__ __forceinline__ T WarpMax(T value, int lanes = kWarpLanes) {
  return WarpReduce(
      value, [](T a, T b) { return a < b ? b : a; }, lanes);
}
template <typename T>
__device__ __forceinline__ T WarpMin(T value, int lanes = kWarpLanes) {
  return WarpReduce(
      value, [](T a, T b) { return b < a ? b : a; }, lanes);
}

// The sum over this lane and those before it.
template <typename T>
__device__ __forceinline__ T WarpInclusiveScan(T value) {
  const int32_t lane = LaneOf();
  for (int step = 1; step < kWarpLanes; step *= 2) {
    const T before = __shfl_up_sync(kAllLanes, value, static_cast<unsigned>(step));
    if (lane >= step) value += before;
  }
  return value;
}

}  // namespace decant

#endif  // DECANT_GPU_DEVICE_WARP_CUH_
