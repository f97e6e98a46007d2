#include "gpu/device/create_device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gpu/device/cuda_device.h"

namespace decant {
namespace {

using ::testing::HasSubstr;

TEST(CreateDeviceTest, HostIsTheHost) {
  DeviceOptions options;
  options.threads = 3;
  const auto device = CreateDevice("host", options);
  ASSERT_TRUE(device.ok()) << device.status();
  EXPECT_EQ((*device)->kind(), DeviceKind::kHost);
  EXPECT_EQ((*device)->threads(), 3);
}

TEST(CreateDeviceTest, OtherNamesAreRefused) {
  for (const char* name : {"", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:0 ", "Host"}) {
    const absl::Status status = CreateDevice(name).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_THAT(std::string(status.message()), HasSubstr(std::string("'") + name + "'"));
  }
}

// A GPU that is not there is an answer, not the end of the process; with "auto" the host steps in.
TEST(CreateDeviceTest, GpuThatIsNotThereIsNotFound) {
  const absl::Status status = CreateDevice("cuda:1000").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound) << status;
  EXPECT_FALSE(status.message().empty());
  const auto count = CudaDeviceCount();
  const auto device = CreateDevice("auto", {1, int64_t{1} << 20});
  ASSERT_TRUE(device.ok()) << device.status();
  EXPECT_EQ((*device)->kind(), count.ok() && *count > 0 ? DeviceKind::kCuda : DeviceKind::kHost);
  if (!count.ok()) {
    EXPECT_EQ(CreateCudaDevice(0).status(), count.status());
  }
}

}  // namespace
}  // namespace decant
