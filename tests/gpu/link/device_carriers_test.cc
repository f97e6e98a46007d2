#include "gpu/link/device_carriers.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "common/base/crc32c.h"
#include "gpu/link/device_mover.h"
#include "gpu/link/nccl_functions.h"
#include "tests/support/test_device.h"

namespace decant {
namespace {

TEST(DeviceCarriersTest, TheHostSharesMemory) {
  const auto host = CreateHostDevice(1);
  const auto missing = [](absl::string_view, const absl::Status&) { FAIL(); };
  const auto carriers = MakeDeviceCarriers(*host, missing);
  ASSERT_EQ(carriers.size(), 1u);
  EXPECT_EQ(carriers[0]->kind(), "shared_memory");
}

TEST(DeviceCarriersTest, ALibraryThatIsNotThereIsNamed) {
  const auto nccl = LoadNccl(0, "libno-such-nccl.so.2");
  EXPECT_FALSE(nccl.ok());
  EXPECT_NE(std::string(nccl.status().message()).find("gRPC"), std::string::npos);
}

TEST(DeviceMoverTest, CopiesAndChecksumsDeviceMemory) {
  const auto device = CreateTestDevice(1);
  DeviceMover mover(*device);
  for (const int64_t size :
       {int64_t{0}, int64_t{1}, int64_t{262143}, int64_t{262144}, int64_t{262145}, int64_t{600001}}) {
    std::string bytes(static_cast<size_t>(size), '\0');
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 31 + i / 7);
    auto buffer = device->Allocate(size + 1);
    ASSERT_TRUE(buffer.ok());
    const MemoryRef memory{MemorySpace::kDevice, buffer->As<char>(1), size};
    ASSERT_TRUE(mover.Copy(memory, {MemorySpace::kHost, bytes.data(), size}).ok());
    const uint32_t expected = Crc32c(bytes.data(), bytes.size(), 7);
    EXPECT_EQ(mover.Checksum({memory.space, memory.address, size}, 7).value(), expected);
    EXPECT_EQ(mover.Checksum({MemorySpace::kHost, bytes.data(), size}, 7).value(), expected);
    std::string back(bytes.size(), 'x');
    ASSERT_TRUE(mover.Copy({MemorySpace::kHost, back.data(), size}, {memory.space, memory.address, size}).ok());
    EXPECT_TRUE(back == bytes);
  }
}

}  // namespace
}  // namespace decant
