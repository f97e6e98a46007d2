#include "tests/support/test_device.h"

#include <gtest/gtest.h>

#include <vector>

namespace decant {
namespace {

TEST(TestDeviceDeathTest, MemoryFaultsOutsideOperations) {
  const auto device = CreateTestDevice(1, 1 << 20);
  const Buffer buffer = device->Allocate(64).value();
  EXPECT_DEATH(*buffer.As<volatile char>() = 1, "");
  const auto stream = device->NewStream();
  {
    const HostAccess outer(*stream);
    { const HostAccess inner(*stream); }
    *buffer.As<volatile char>() = 1;
  }
  EXPECT_DEATH(*buffer.As<volatile char>() = 1, "");
}

TEST(TestDeviceTest, CopiesReachItAndNewMemoryIsNotZero) {
  const auto device = CreateTestDevice(2, 1 << 20);
  const auto stream = device->NewStream();
  const Buffer buffer = device->Allocate(10).value();
  std::vector<uint8_t> out(10);
  stream->Copy(out.data(), buffer.As<uint8_t>(), 10);
  EXPECT_EQ(out, std::vector<uint8_t>(10, 0xA5));
  const std::vector<uint8_t> in = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  stream->Copy(buffer.As<uint8_t>(), in.data(), 10);
  stream->Copy(out.data(), buffer.As<uint8_t>(), 10);
  EXPECT_EQ(out, in);
}

TEST(TestDeviceTest, RefusesBeyondItsArenaAndJoinsWhatIsGivenBack) {
  const auto device = CreateTestDevice(1, 3 * 4096);
  Buffer a = device->Allocate(4096).value();
  Buffer b = device->Allocate(1).value();
  Buffer c = device->Allocate(4096).value();
  EXPECT_EQ(device->allocated_bytes(), 8193);
  EXPECT_EQ(device->Allocate(1).status().code(), absl::StatusCode::kResourceExhausted);
  a = Buffer();
  c = Buffer();
  EXPECT_FALSE(device->Allocate(4097).ok());
  b = Buffer();
  EXPECT_TRUE(device->Allocate(3 * 4096).ok());
  EXPECT_EQ(device->allocated_bytes(), 0);
}

}  // namespace
}  // namespace decant
