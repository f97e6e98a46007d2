#include "common/base/check.h"
#include "gpu/device/cuda_device.h"
#include "tests/support/kernel_devices.h"

namespace decant {

std::vector<KernelDevice> KernelDevices() {
  return {{"Cuda", [](int64_t bytes) {
             CudaDeviceOptions options;
             options.budget_bytes = bytes;
             auto device = CreateCudaDevice(0, options);
             DECANT_CHECK_MSG(device.ok(), "%s", device.status().ToString().c_str());
             return std::move(*device);
           }}};
}

}  // namespace decant
