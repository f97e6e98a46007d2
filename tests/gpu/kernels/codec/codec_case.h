// What every case of this room's tests runs on.
#ifndef DECANT_TESTS_GPU_KERNELS_CODEC_CODEC_CASE_H_
#define DECANT_TESTS_GPU_KERNELS_CODEC_CODEC_CASE_H_

#include <gtest/gtest.h>

#include <memory>

#include "gpu/device/device.h"
#include "tests/gpu/kernels/pages/page_rig.h"
#include "tests/support/kernel_devices.h"

namespace decant {

class CodecCase : public ::testing::TestWithParam<KernelDevice> {
 protected:
  static std::unique_ptr<Device> NewDevice() { return GetParam().create(int64_t{64} << 20); }
  static RigOptions NewOptions() {
    RigOptions options;
    options.device = GetParam().create;
    options.appends_on_device = true;
    return options;
  }
};

}  // namespace decant

#endif  // DECANT_TESTS_GPU_KERNELS_CODEC_CODEC_CASE_H_
