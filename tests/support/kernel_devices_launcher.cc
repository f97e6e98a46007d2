#include "tests/support/kernel_devices.h"
#include "tests/support/launcher/launcher_device.h"
#include "tests/support/test_device.h"

namespace decant {

std::vector<KernelDevice> KernelDevices() {
  const auto launcher = [](launcher::WarpOrder order) {
    return [order](int64_t bytes) {
      LauncherOptions options;
      options.order = order;
      options.arena_bytes = bytes;
      return std::unique_ptr<Device>(CreateLauncherDevice(options));
    };
  };
  return {{"Host", [](int64_t bytes) { return CreateTestDevice(2, bytes); }},
          {"Forward", launcher(launcher::WarpOrder::kForward)},
          {"Reverse", launcher(launcher::WarpOrder::kReverse)},
          {"Random", launcher(launcher::WarpOrder::kRandom)}};
}

}  // namespace decant
