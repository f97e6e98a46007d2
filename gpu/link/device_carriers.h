// The carriers that a device has.
#ifndef DECANT_GPU_LINK_DEVICE_CARRIERS_H_
#define DECANT_GPU_LINK_DEVICE_CARRIERS_H_

#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/link/payload_carrier.h"
#include "gpu/device/device.h"

namespace decant {

// CUDA IPC and NCCL for a CUDA device, as far as this machine has them; shared memory for the host. `missing` hears, of
// each kind that a CUDA device lacks, why. `device` must outlive them.
std::vector<std::unique_ptr<PayloadCarriers>> MakeDeviceCarriers(
    Device& device, const std::function<void(absl::string_view kind, const absl::Status& why)>& missing);

}  // namespace decant

#endif  // DECANT_GPU_LINK_DEVICE_CARRIERS_H_
