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
  return {{"Host", [](int64_t bytes) { return CreateTestDevice(2, bytes); }, 1, true},
          {"Forward", launcher(launcher::WarpOrder::kForward), 2, true},
          {"Reverse", launcher(launcher::WarpOrder::kReverse), 8, false},
          {"Random", launcher(launcher::WarpOrder::kRandom), 8, false}};
}

}  // namespace decant
