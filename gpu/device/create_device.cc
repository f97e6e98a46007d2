#include "gpu/device/create_device.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "gpu/device/cuda_device.h"

namespace decant {

absl::StatusOr<std::unique_ptr<Device>> CreateDevice(absl::string_view name, const DeviceOptions& options) {
  if (name == "host") return CreateHostDevice(options.threads);
  const CudaDeviceOptions cuda{options.budget_bytes};
  if (name == "auto") {
    const absl::StatusOr<int> count = CudaDeviceCount();
    if (!count.ok() || *count == 0) return CreateHostDevice(options.threads);
    return CreateCudaDevice(0, cuda);
  }
  absl::string_view number = name;
  int ordinal = 0;
  const bool is_cuda =
      name == "cuda" || (absl::ConsumePrefix(&number, "cuda:") && absl::SimpleAtoi(number, &ordinal) && ordinal >= 0);
  if (!is_cuda) {
    return absl::InvalidArgumentError(absl::StrCat("device '", name, "': say auto, host, cuda or cuda:N"));
  }
  return CreateCudaDevice(ordinal, cuda);
}

}  // namespace decant
