#include "gpu/link/device_carriers.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/strip.h"
#include "gpu/link/ipc_carriers.h"
#include "gpu/link/nccl_carriers.h"
#include "gpu/link/shared_memory.h"

namespace decant {

std::vector<std::unique_ptr<PayloadCarriers>> MakeDeviceCarriers(
    Device& device, const std::function<void(absl::string_view kind, const absl::Status& why)>& missing) {
  std::vector<std::unique_ptr<PayloadCarriers>> carriers;
  if (device.kind() == DeviceKind::kHost) {
    carriers.push_back(std::make_unique<IpcCarriers>(LinkKind::kSharedMemory,
                                                     SharedMemoryIpc(std::make_shared<SharedMemory>()), device));
    return carriers;
  }
  // A CUDA device is called "cuda:N ...".
  const std::string name = device.name();
  absl::string_view rest = name;
  int ordinal = 0;
  if (!absl::ConsumePrefix(&rest, "cuda:") || !absl::SimpleAtoi(rest.substr(0, rest.find(' ')), &ordinal)) {
    return carriers;
  }
  if (auto ipc = LoadCudaIpc(device, ordinal); ipc.ok()) {
    carriers.push_back(std::make_unique<IpcCarriers>(LinkKind::kCudaIpc, *std::move(ipc), device));
  } else {
    missing(NameOf(LinkKind::kCudaIpc), ipc.status());
  }
  if (auto nccl = LoadNccl(ordinal); nccl.ok()) {
    carriers.push_back(std::make_unique<NcclCarriers>(*std::move(nccl), device));
  } else {
    missing(kNcclKind, nccl.status());
  }
  return carriers;
}

}  // namespace decant
