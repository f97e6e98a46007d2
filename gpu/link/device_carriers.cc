#include "gpu/link/device_carriers.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/strip.h"
#include "gpu/link/ipc_carriers.h"
#include "gpu/link/nccl_carriers.h"

namespace decant {

std::vector<std::unique_ptr<PayloadCarriers>> MakeDeviceCarriers(
    Device& device, const std::function<void(absl::string_view kind, const absl::Status& why)>& missing) {
  std::vector<std::unique_ptr<PayloadCarriers>> carriers;
  // A CUDA device is called "cuda:N ...".
  const std::string name = device.name();
  absl::string_view rest = name;
  int ordinal = 0;
  if (device.kind() != DeviceKind::kCuda || !absl::ConsumePrefix(&rest, "cuda:") ||
      !absl::SimpleAtoi(rest.substr(0, rest.find(' ')), &ordinal)) {
    return carriers;
  }
  if (auto ipc = LoadCudaIpc(device, ordinal); ipc.ok()) {
    carriers.push_back(std::make_unique<IpcCarriers>(*std::move(ipc), device));
  } else {
    missing(kCudaIpcKind, ipc.status());
  }
  if (auto nccl = LoadNccl(ordinal); nccl.ok()) {
    carriers.push_back(std::make_unique<NcclCarriers>(*std::move(nccl), device));
  } else {
    missing(kNcclKind, nccl.status());
  }
  return carriers;
}

}  // namespace decant
