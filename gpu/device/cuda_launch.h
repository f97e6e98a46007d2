// Launches under nvcc; kernels reach this through cuda_kernel.h.
#ifndef DECANT_GPU_DEVICE_CUDA_LAUNCH_H_
#define DECANT_GPU_DEVICE_CUDA_LAUNCH_H_

#include <cuda_runtime.h>

#include <cstddef>

#include "gpu/device/cuda_stream.h"

namespace decant {

// Blocks may use more than this much dynamic shared memory only when the kernel says so beforehand.
inline constexpr size_t kPlainSharedBytes = size_t{48} << 10;

template <typename... Params, typename... Args>
void LaunchKernel(const char* name, void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes,
                  Stream& stream, const Args&... args) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  if (shared_bytes > kPlainSharedBytes) {
    RequireCuda(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                     static_cast<int>(shared_bytes)),
                name);
  }
  kernel<<<grid, block, shared_bytes, CudaStreamOf(stream)>>>(static_cast<Params>(args)...);
  RequireCuda(cudaGetLastError(), name);
}

}  // namespace decant

#define DECANT_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
  ::decant::LaunchKernel(#kernel, kernel, (grid), (block), (shared_bytes), (stream), __VA_ARGS__)

#endif  // DECANT_GPU_DEVICE_CUDA_LAUNCH_H_
