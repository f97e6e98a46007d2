// What every .cu file includes: launches, dynamic shared memory and global memory, the same words under nvcc and under
// the host launcher of tests/support/launcher, which defines DECANT_KERNEL_LAUNCHER as the header to take instead.
//
// - DECANT_LAUNCH(kernel, grid, block, shared_bytes, stream, args...) enqueues kernel(args...) on a decant::Stream&.
// The
//   arguments travel by value. An empty grid enqueues nothing; a launch that is refused ends the process with one line.
//   A kernel with template arguments stands in parentheses.
// - DECANT_DYN_SHARED(T, name) is the block's dynamic shared memory as T*, aligned to 128 bytes.
// - Load(p), Store(p, value) reach global memory. On the launcher they are recorded and checked: what a kernel moves is
//   counted by design. DECANT_RECORD_READ / _WRITE(address, bytes) say the same of an access made in other ways.
//
// Kernels are file-local, their launchers declared in <op>_cuda.h. They allocate nothing and read no device value on
// the host, so that every launch chain can be captured as a graph.
#ifndef DECANT_GPU_DEVICE_CUDA_KERNEL_H_
#define DECANT_GPU_DEVICE_CUDA_KERNEL_H_

#include <cstddef>
#include <cstdint>

#include "gpu/device/device.h"

#if defined(DECANT_KERNEL_LAUNCHER)
#include DECANT_KERNEL_LAUNCHER
#elif defined(__CUDACC__)
#include <cuda_runtime.h>

#include "gpu/device/cuda_launch.h"

#define DECANT_RECORD_READ(address, bytes) ((void)0)
#define DECANT_RECORD_WRITE(address, bytes) ((void)0)
#define DECANT_DYN_SHARED(T, name)                                    \
  extern __shared__ __align__(128) unsigned char decant_dyn_shared[]; \
  T* const name = reinterpret_cast<T*>(decant_dyn_shared)

namespace decant {

// T: a trivially copyable type; of 1, 2, 4, 8 or 16 bytes and aligned to its size it is one instruction.
template <typename T>
__device__ __forceinline__ T Load(const T* p) {
  return *p;
}
template <typename T>
__device__ __forceinline__ void Store(T* p, T value) {
  *p = value;
}

}  // namespace decant
#else
#error "kernels are compiled by nvcc or for the host launcher"
#endif

namespace decant {

inline constexpr int kWarpLanes = 32;
inline constexpr uint32_t kAllLanes = 0xffffffffu;

}  // namespace decant

#endif  // DECANT_GPU_DEVICE_CUDA_KERNEL_H_
