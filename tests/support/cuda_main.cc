// The main function of tests that need a GPU: skipped, which CTest sees by the exit status, where there is none.
#include <gtest/gtest.h>

#include <cstdio>

#include "gpu/device/cuda_device.h"

int main(int argc, char** argv) {
  constexpr int kSkipped = 77;
  testing::InitGoogleTest(&argc, argv);
  if (const auto count = decant::CudaDeviceCount(); !count.ok() || *count == 0) {
    std::printf("skipped: %s\n", count.ok() ? "no GPU" : std::string(count.status().message()).c_str());
    return kSkipped;
  }
  return RUN_ALL_TESTS();
}
