#ifndef DECANT_GPU_DEVICE_MULTIPLY_ADD_CUH_
#define DECANT_GPU_DEVICE_MULTIPLY_ADD_CUH_

#include <cmath>

#include "gpu/device/cuda_kernel.h"

namespace decant {

// a b + c for sums that are compared with a tolerance: one instruction and one rounding on a device, the host's two
// roundings on the launcher, whose processors may have no such instruction.
__device__ __forceinline__ float MultiplyAdd(float a, float b, float c) {
#if defined(__CUDA_ARCH__)
  return fmaf(a, b, c);
#else
  return a * b + c;
#endif
}

// Minus infinity: the largest of no logits.
__device__ __forceinline__ float LowestFloat() { return -INFINITY; }

}  // namespace decant

#endif  // DECANT_GPU_DEVICE_MULTIPLY_ADD_CUH_
