// Copies from global to shared memory that go on while the block computes. On the launcher they have happened when the
// call returns.
#ifndef DECANT_GPU_DEVICE_ASYNC_COPY_CUH_
#define DECANT_GPU_DEVICE_ASYNC_COPY_CUH_

#include "gpu/device/cuda_kernel.h"

namespace decant {

// 16 bytes; both addresses are multiples of 16.
__device__ __forceinline__ void CopyToShared(void* shared, const void* global) {
#if defined(__CUDA_ARCH__)
  const auto to = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(global) : "memory");
#else
  *static_cast<uint4*>(shared) = Load(static_cast<const uint4*>(global));
#endif
}

// Waits for all copies of the calling thread; a barrier tells the other threads.
__device__ __forceinline__ void WaitForCopies() {
#if defined(__CUDA_ARCH__)
  asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}

}  // namespace decant

#endif  // DECANT_GPU_DEVICE_ASYNC_COPY_CUH_
