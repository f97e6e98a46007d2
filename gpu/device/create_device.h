// The device that a process was told to use.
#ifndef DECANT_GPU_DEVICE_CREATE_DEVICE_H_
#define DECANT_GPU_DEVICE_CREATE_DEVICE_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "gpu/device/device.h"

namespace decant {

struct DeviceOptions {
  int threads = 0;           // of a host device, 0: one per core
  int64_t budget_bytes = 0;  // of a CUDA device, 0: nine tenths of what is free
};

// "host"; "cuda:N", or "cuda" for the first; "auto": the first GPU where CUDA can be used, else the host.
// INVALID_ARGUMENT for any other name; NOT_FOUND where there is no such GPU.
absl::StatusOr<std::unique_ptr<Device>> CreateDevice(absl::string_view name, const DeviceOptions& options = {});

}  // namespace decant

#endif  // DECANT_GPU_DEVICE_CREATE_DEVICE_H_
