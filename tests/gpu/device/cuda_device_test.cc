// What a device promises, on every device there is: the launcher has the host's streams, a GPU its own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "common/base/random.h"
#include "tests/support/kernel_devices.h"

namespace decant {
namespace {

using ::testing::HasSubstr;

class DeviceContractTest : public ::testing::TestWithParam<KernelDevice> {
 protected:
  const std::unique_ptr<Device> device_ = GetParam().create(int64_t{64} << 20);
  const std::unique_ptr<Stream> stream_ = device_->NewStream();
};
DECANT_ON_KERNEL_DEVICES(DeviceContractTest);

std::vector<uint8_t> RandomBytes(size_t count) {
  std::vector<uint8_t> bytes(count);
  for (size_t i = 0; i < count; ++i) bytes[i] = static_cast<uint8_t>(MixBits(1, i));
  return bytes;
}

// Sizes around the chunks of pinned staging, and many more bytes than it holds.
TEST_P(DeviceContractTest, CopiesGoThereAndBack) {
  for (const int64_t bytes : {int64_t{0}, int64_t{1}, int64_t{4096}, (int64_t{1} << 20) - 1, int64_t{1} << 20,
                              (int64_t{1} << 20) + 1, int64_t{19} << 20}) {
    Buffer first = device_->Allocate(bytes + 1).value();
    Buffer second = device_->Allocate(bytes + 1).value();
    std::vector<uint8_t> there = RandomBytes(static_cast<size_t>(bytes));
    std::vector<uint8_t> back(there.size() + 1, 7);
    stream_->Copy(first.As<void>(), there.data(), bytes);
    stream_->Copy(second.As<void>(), first.As<void>(), bytes);
    stream_->Copy(back.data(), second.As<void>(), bytes);
    ASSERT_TRUE(stream_->Synchronize().ok());
    EXPECT_EQ(back.back(), 7);
    back.pop_back();
    EXPECT_TRUE(there == back) << bytes;
  }
}

TEST_P(DeviceContractTest, WorkIsDoneInOrderAndBeforeItsEvent) {
  Buffer buffer = device_->Allocate(int64_t{1} << 20).value();
  std::vector<uint8_t> back(size_t{1} << 20);
  for (int round = 0; round < 20; ++round) {
    stream_->Fill(buffer.As<void>(), 255, buffer.bytes());
    stream_->Fill(buffer.As<void>(), round, buffer.bytes());
    stream_->Copy(back.data(), buffer.As<void>(), buffer.bytes());
    const auto event = stream_->Record();
    ASSERT_TRUE(event->Wait().ok());
    EXPECT_TRUE(event->Ready());
    ASSERT_TRUE(back == std::vector<uint8_t>(back.size(), static_cast<uint8_t>(round))) << round;
  }
}

TEST_P(DeviceContractTest, MoreThanThereIsIsRefusedWithTheBytes) {
  const absl::Status status = device_->Allocate(int64_t{65} << 20).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("asked for 68157440 bytes, "));
  EXPECT_EQ(device_->Allocate(-1).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(device_->allocated_bytes(), 0);
}

TEST_P(DeviceContractTest, MemoryThatIsGivenBackIsTakenAgain) {
  for (int round = 0; round < 3; ++round) {
    std::vector<Buffer> buffers;
    for (int i = 0; i < 15; ++i) {
      buffers.push_back(device_->Allocate(int64_t{4} << 20).value());
      EXPECT_EQ(reinterpret_cast<uintptr_t>(buffers.back().As<void>()) % 64, 0u);
    }
    EXPECT_EQ(device_->allocated_bytes(), int64_t{60} << 20);
  }
  EXPECT_EQ(device_->allocated_bytes(), 0);
}

}  // namespace
}  // namespace decant
