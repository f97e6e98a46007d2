// The CUDA side of Device. Where there is no driver or no GPU, or the build has no CUDA, there is no such device.
#ifndef DECANT_GPU_DEVICE_CUDA_DEVICE_H_
#define DECANT_GPU_DEVICE_CUDA_DEVICE_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "gpu/device/device.h"
#include "gpu/device/graph.h"

namespace decant {

struct CudaDeviceOptions {
  // Taken at once when the device is created; all buffers come out of it. 0: nine tenths of what is free then.
  int64_t budget_bytes = 0;
};

// NOT_FOUND, with the driver's words, where CUDA cannot be used at all.
absl::StatusOr<int> CudaDeviceCount();

// NOT_FOUND without a GPU of that number; RESOURCE_EXHAUSTED, with the bytes asked for and free, for a budget it cannot
// give. Any other CUDA error, then or later, ends the process with one line. Its kernels run on streams of their own;
// Copy from pageable memory goes through pinned staging and does not wait for what the stream still has to do, Copy to
// pageable memory does.
absl::StatusOr<std::unique_ptr<Device>> CreateCudaDevice(int ordinal, const CudaDeviceOptions& options = {});

// CaptureGraph (graph.h) of a stream of such a device; null for any other stream.
std::unique_ptr<Graph> CaptureCudaGraph(Stream& stream, const std::function<void()>& work);

}  // namespace decant

#endif  // DECANT_GPU_DEVICE_CUDA_DEVICE_H_
