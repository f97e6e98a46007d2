#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "gpu/device/device.h"

namespace decant {
namespace {

TEST(HostDeviceTest, CountsLiveBytesAndMovesOwnership) {
  const auto device = CreateHostDevice(1);
  EXPECT_EQ(device->kind(), DeviceKind::kHost);
  {
    Buffer a = device->Allocate(100).value();
    EXPECT_EQ(reinterpret_cast<uintptr_t>(a.As<char>()) % 64, 0u);
    EXPECT_EQ(a.ref().space, MemorySpace::kHost);
    EXPECT_EQ(device->allocated_bytes(), 100);
    Buffer b = std::move(a);
    EXPECT_EQ(b.bytes(), 100);
    b = device->Allocate(7).value();
    EXPECT_EQ(device->allocated_bytes(), 7);
  }
  EXPECT_EQ(device->allocated_bytes(), 0);
  EXPECT_EQ(device->Allocate(0).value().bytes(), 0);
}

TEST(HostDeviceTest, RefusesWhatTheMachineDoesNotHave) {
  const auto device = CreateHostDevice(1);
  const auto buffer = device->Allocate(int64_t{1} << 50);
  EXPECT_EQ(buffer.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(buffer.status().message().find("1125899906842624"), absl::string_view::npos) << buffer.status();
  EXPECT_EQ(device->Allocate(-1).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(HostDeviceTest, CopiesAndFills) {
  const auto device = CreateHostDevice(2);
  const auto stream = device->NewStream();
  const Buffer buffer = device->Allocate(3 << 20).value();
  std::vector<char> in(3 << 20);
  std::iota(in.begin(), in.end(), char{0});
  stream->Copy(buffer.As<char>(), in.data(), buffer.bytes());
  stream->Fill(buffer.As<char>(5), 9, 2);
  std::vector<char> out(in.size());
  stream->Copy(out.data(), buffer.As<char>(), buffer.bytes());
  const auto event = stream->Record();
  ASSERT_TRUE(event->Wait().ok());
  EXPECT_TRUE(event->Ready());
  in[5] = in[6] = 9;
  EXPECT_EQ(out, in);
  EXPECT_TRUE(stream->Synchronize().ok());
}

}  // namespace
}  // namespace decant
