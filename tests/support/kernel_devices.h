// The devices that a test of operations with CUDA kernels runs on; decant_kernel_test links one of the lists: the test
// device (host loops) and the launcher (kernels) in three warp orders, or the GPU.
#ifndef DECANT_TESTS_SUPPORT_KERNEL_DEVICES_H_
#define DECANT_TESTS_SUPPORT_KERNEL_DEVICES_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "gpu/device/device.h"

namespace decant {

struct KernelDevice {
  std::string name;  // as part of a test's name
  // A device of its own with room for `bytes`.
  std::function<std::unique_ptr<Device>(int64_t bytes)> create;
  // Fibers are slow: the launcher's devices take a part of a long run, and only the first of them the larger cases.
  int32_t shorter = 1;
  bool large_cases = true;

  int32_t Steps(int32_t all) const { return all / shorter; }
};
std::vector<KernelDevice> KernelDevices();

inline void PrintTo(const KernelDevice& device, std::ostream* out) { *out << device.name; }

// The last argument of INSTANTIATE_TEST_SUITE_P.
template <typename Info>
std::string KernelDeviceName(const Info& info) {
  return info.param.name;
}

}  // namespace decant

// Runs the cases of a suite, a class derived from testing::TestWithParam<KernelDevice>, on every device of the list.
#define DECANT_ON_KERNEL_DEVICES(Suite)                                                    \
  INSTANTIATE_TEST_SUITE_P(Devices, Suite, ::testing::ValuesIn(::decant::KernelDevices()), \
                           [](const auto& device) { return ::decant::KernelDeviceName(device); })

#endif  // DECANT_TESTS_SUPPORT_KERNEL_DEVICES_H_
