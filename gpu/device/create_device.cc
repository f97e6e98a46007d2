#include "gpu/device/create_device.h"

#include <algorithm>

#include "absl/strings/ascii.h"
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
  // SimpleAtoi would take a sign and white space too.
  const bool is_cuda = name == "cuda" || (absl::ConsumePrefix(&number, "cuda:") &&
                                          std::all_of(number.begin(), number.end(), absl::ascii_isdigit) &&
                                          absl::SimpleAtoi(number, &ordinal));
  if (!is_cuda) {
    return absl::InvalidArgumentError(absl::StrCat("device '", name, "': say auto, host, cuda or cuda:N"));
  }
  return CreateCudaDevice(ordinal, cuda);
}

}  // namespace decant
