#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <string>
#include <vector>

#include "tests/support/device_array.h"
#include "tests/support/launcher/launcher_device.h"
#include "tests/support/launcher/probe_kernels.h"

namespace decant {
namespace {

using launcher::WarpOrder;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Not;

class LauncherTest : public ::testing::TestWithParam<WarpOrder> {
 protected:
  static LauncherOptions Options() {
    LauncherOptions options;
    options.order = GetParam();
    options.record = true;
    options.arena_bytes = int64_t{8} << 20;
    return options;
  }

  const std::unique_ptr<LauncherDevice> device_ = CreateLauncherDevice(Options());
  const std::unique_ptr<Stream> stream_ = device_->NewStream();
};
INSTANTIATE_TEST_SUITE_P(Orders, LauncherTest,
                         ::testing::Values(WarpOrder::kForward, WarpOrder::kReverse, WarpOrder::kRandom),
                         [](const auto& order) {
                           return std::string(order.param == WarpOrder::kForward   ? "Forward"
                                              : order.param == WarpOrder::kReverse ? "Reverse"
                                                                                   : "Random");
                         });

// Exchanges of some lanes once left the others a step behind, and the next exchange of all read stale values.
TEST_P(LauncherTest, ExchangeUnderAPartialMaskLeavesTheNextOneWhole) {
  const DeviceArray<int32_t> out(*stream_, size_t{96});
  probe::PartialMaskThenFull(*stream_, out.data());
  const std::vector<int32_t> values = out.Read();
  for (int32_t step = 0; step < 3; ++step) {
    for (int32_t lane = 0; lane < 32; ++lane) {
      EXPECT_EQ(values[static_cast<size_t>(step * 32 + lane)], (lane + 31) % 32 * 10 + step);
    }
  }
}

TEST_P(LauncherTest, MissingBarrierIsSeen) {
  for (const int32_t threads : {1, 31, 32, 33, 256, 1024}) {
    std::vector<int32_t> in(static_cast<size_t>(threads));
    std::iota(in.begin(), in.end(), 1);
    const DeviceArray<int32_t> device_in(*stream_, in);
    const DeviceArray<int64_t> out(*stream_, in.size());
    probe::SumThroughShared(*stream_, device_in.data(), threads, true, out.data());
    const int64_t sum = int64_t{threads} * (threads + 1) / 2;
    EXPECT_THAT(out.Read(), Each(sum)) << threads;
    probe::SumThroughShared(*stream_, device_in.data(), threads, false, out.data());
    if (threads > 1) {
      EXPECT_THAT(out.Read(), Not(Each(sum))) << threads;
    }
  }
}

TEST_P(LauncherTest, WarpOperationsAreThoseOfTheDevice) {
  const DeviceArray<int32_t> out(*stream_, size_t{probe::kWarpWords});
  probe::WarpOperations(*stream_, out.data());
  EXPECT_THAT(out.Read(), ElementsAre(0x49249249, 1, 0, 0xf0, 11, 9, 14, 7, 496, 31, -4, 15, 496, 2));
}

TEST_P(LauncherTest, EveryThreadOfEveryBlockRunsOnce) {
  const DeviceArray<int32_t> out(*stream_, size_t{12 * 105 * 6});
  const DeviceArray<int64_t> votes(*stream_, size_t{12});
  probe::Places(*stream_, out.data(), votes.data());
  const std::vector<int32_t> places = out.Read();
  size_t at = 0;
  for (int32_t block = 0; block < 12; ++block) {
    for (int32_t thread = 0; thread < 105; ++thread, at += 6) {
      const std::vector<int32_t> place(places.begin() + static_cast<int64_t>(at),
                                       places.begin() + static_cast<int64_t>(at) + 6);
      ASSERT_THAT(place, ElementsAre(thread % 3, thread / 3 % 5, thread / 15, block % 2, block / 2 % 3, block / 6));
    }
  }
  EXPECT_THAT(votes.Read(), Each(53 * 100 + 10));
}

TEST_P(LauncherTest, BlockScanSumsInOrder) {
  std::vector<int32_t> in(256);
  for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<int32_t>(i * i % 17);
  const DeviceArray<int32_t> device_in(*stream_, in);
  const DeviceArray<int32_t> out(*stream_, size_t{512});
  probe::BlockScan256(*stream_, device_in.data(), out.data());
  const std::vector<int32_t> scan = out.Read();
  const int32_t total = std::accumulate(in.begin(), in.end(), 0);
  for (size_t i = 0; i < 256; ++i) {
    EXPECT_EQ(scan[2 * i], std::accumulate(in.begin(), in.begin() + static_cast<int64_t>(i), 0));
    EXPECT_EQ(scan[2 * i + 1], total);
  }
}

TEST_P(LauncherTest, Atomics) {
  const DeviceArray<uint32_t> counts(*stream_, std::vector<uint32_t>{0, 0, 100, 0, 0xffu, 0, 0, 0, 0});
  probe::Atomics(*stream_, counts.data());
  std::vector<uint32_t> values = counts.Read();
  EXPECT_EQ(BitsToFloat(values[8]), 50.0f);
  values[7] = values[7] != 0 ? 1 : 0;  // whoever came first
  values.pop_back();
  EXPECT_THAT(values, ElementsAre(2450, 49, 7, 0xff, 0, 1, 11, 1));
}

TEST_P(LauncherTest, DynamicSharedMemoryHoldsNothingOfTheBlockBefore) {
  const DeviceArray<uint32_t> out(*stream_, size_t{2});
  probe::FreshShared(*stream_, out.data());
  EXPECT_THAT(out.Read(), Each(0xffffffffu));
}

TEST_P(LauncherTest, RequestsMoveTheSectorsTheyTouch) {
  struct Case {
    int32_t stride, width;
    int64_t bytes, sectors;
  };
  for (const Case& c : {Case{4, 4, 128, 4}, Case{16, 16, 512, 16}, Case{32, 4, 128, 32}, Case{0, 4, 4, 1},
                        Case{1, 1, 32, 1}, Case{64, 16, 512, 32}, Case{8, 4, 128, 8}}) {
    const DeviceArray<uint8_t> in(*stream_, size_t{4096});
    const DeviceArray<uint8_t> out(*stream_, size_t{512});
    device_->recorder().Clear();
    probe::Strided(*stream_, in.data(), c.stride, c.width, out.data());
    const launcher::AccessCounts counts = device_->recorder().Total();
    EXPECT_EQ(counts.launches, 1);
    EXPECT_EQ(counts.reads.requests, 1) << c.stride << " " << c.width;
    EXPECT_EQ(counts.reads.bytes, c.bytes);
    EXPECT_EQ(counts.reads.sectors, c.sectors) << c.stride << " " << c.width;
    EXPECT_EQ(counts.reads.footprint, c.sectors * 32);
    EXPECT_EQ(counts.reads.ideal_sectors, (c.bytes + 31) / 32);
    EXPECT_EQ(counts.writes.requests, 1);
    EXPECT_EQ(counts.writes.sectors, c.width);
  }
}

TEST_P(LauncherTest, PassesOfALoopAreRequestsOfTheLanesThatTakeThem) {
  const DeviceArray<int32_t> in(*stream_, size_t{32 * 32});
  const DeviceArray<int32_t> out(*stream_, size_t{32});
  device_->recorder().Clear();
  probe::Ragged(*stream_, in.data(), out.data());
  const launcher::AccessCounts counts = device_->recorder().Total();
  EXPECT_EQ(counts.reads.requests, 31);
  EXPECT_EQ(counts.reads.bytes, 4 * 31 * 32 / 2);
  EXPECT_EQ(counts.writes.requests, 1);
}

using LauncherDeathTest = LauncherTest;
INSTANTIATE_TEST_SUITE_P(Forward, LauncherDeathTest, ::testing::Values(WarpOrder::kForward));

TEST_P(LauncherDeathTest, WrongKernelsEndTheProcess) {
  const DeviceArray<int32_t> out(*stream_, size_t{32});
  const DeviceArray<uint8_t> in(*stream_, size_t{32});
  const int32_t on_the_host = 0;
  EXPECT_DEATH(probe::Deadlock(*stream_), "DeadlockKernel, block .0, 0, 0.: deadlock, threads from");
  EXPECT_DEATH(probe::MixedOperations(*stream_), "while others of its mask wait at");
  EXPECT_DEATH(probe::NotInOwnMask(*stream_), "not in its own mask");
  EXPECT_DEATH(probe::OutOfMemory(*stream_, out.data(), &on_the_host), "4 bytes that are not the device's");
  EXPECT_DEATH(probe::Misaligned(*stream_, in.data(), out.data()), "not aligned to 4");
  EXPECT_DEATH(probe::TooManyThreads(*stream_), "no device runs");
}

// Kernels are instrumented in every build but that of the thread sanitiser.
#if !defined(__SANITIZE_THREAD__)
TEST_P(LauncherDeathTest, SanitisersSeeWhatKernelsDo) {
  const DeviceArray<int32_t> out(*stream_, size_t{1});
  const DeviceArray<int32_t> last(*stream_, std::vector<int32_t>{3});
  const DeviceArray<int32_t> past(*stream_, std::vector<int32_t>{4});
  const DeviceArray<int32_t> far(*stream_, std::vector<int32_t>{40});
  probe::PastShared(*stream_, last.data(), out.data());
  probe::PastDynamicShared(*stream_, last.data(), out.data());
  probe::ShiftTooFar(*stream_, last.data(), out.data());
  EXPECT_THAT(out.Read(), ElementsAre(8));
  EXPECT_DEATH(probe::PastShared(*stream_, past.data(), out.data()), "index 4 out of bounds|global-buffer-overflow");
  EXPECT_DEATH(probe::PastDynamicShared(*stream_, past.data(), out.data()), "heap-buffer-overflow");
  EXPECT_DEATH(probe::ShiftTooFar(*stream_, far.data(), out.data()), "shift exponent 40 is too large");
}
#endif

TEST(LauncherDeviceTest, MemoryFaultsOutsideOperations) {
  const auto device = CreateLauncherDevice();
  const auto stream = device->NewStream();
  const DeviceArray<int32_t> array(*stream, std::vector<int32_t>{1, 2});
  EXPECT_DEATH(std::exit(*array.data()), "");
  EXPECT_THAT(array.Read(), ElementsAre(1, 2));
  EXPECT_EQ(device->kind(), DeviceKind::kCuda);
}

}  // namespace
}  // namespace decant
