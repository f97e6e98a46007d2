// CreateCudaDevice of a build without nvcc.
#include "gpu/device/cuda_device.h"

namespace decant {

absl::StatusOr<int> CudaDeviceCount() { return absl::NotFoundError("this build has no CUDA"); }

absl::StatusOr<std::unique_ptr<Device>> CreateCudaDevice(int, const CudaDeviceOptions&) {
  return CudaDeviceCount().status();
}

std::unique_ptr<Graph> CaptureCudaGraph(Stream&, const std::function<void()>&) { return nullptr; }

}  // namespace decant
