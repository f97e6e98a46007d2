// The bounded set of communicators, seen from one end; transfers over it are tested in tests/services/rpc.
#include "gpu/link/nccl_carriers.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "gpu/link/runs.h"
#include "tests/support/fake_nccl.h"
#include "tests/support/test_device.h"

namespace decant {
namespace {

absl::Time Soon() { return absl::Now() + absl::Seconds(30); }

class NcclCarriersTest : public ::testing::Test {
 protected:
  static NcclOptions Small() {
    NcclOptions options;
    options.most_connections = 1;
    options.batch_bytes = 1000;
    return options;
  }
  absl::StatusOr<std::shared_ptr<PayloadCarrier>> Connect(const std::string& peer, NcclCarriers& receiver) {
    const auto exchange = [&](const std::string& hello, absl::Time) { return receiver.Accept("sender", hello); };
    return sender_.Connect(peer, exchange, Soon());
  }

  FakeNccl nccl_;
  const std::unique_ptr<Device> device_ = CreateTestDevice(1);
  NcclCarriers one_{nccl_.functions(), *device_, Small()};
  NcclCarriers two_{nccl_.functions(), *device_, Small()};
  NcclCarriers sender_{nccl_.functions(), *device_, Small()};
};

// A passage, and one batch of it that hangs.
struct Hanging {
  std::unique_ptr<Passage> passage;
  absl::Notification told;
  absl::Notification done;
  const std::string bytes = std::string(100, 'x');

  explicit Hanging(PayloadCarrier& carrier) : passage(carrier.Take()) {
    const ConstMemoryRef part{MemorySpace::kHost, bytes.data(), 100};
    EXPECT_TRUE(passage
                    ->Send(
                        {part}, Soon(), [this](const auto&) { told.Notify(); }, [this] { done.Notify(); })
                    .ok());
    told.WaitForNotification();
  }
};

TEST_F(NcclCarriersTest, ABusyCommunicatorIsNotEvicted) {
  const auto carrier = Connect("one", one_);
  ASSERT_TRUE(carrier.ok()) << carrier.status();
  nccl_.Set({.send_hangs = true});
  Hanging batch(**carrier);
  EXPECT_EQ((*carrier)->Take(), nullptr);
  EXPECT_EQ(Connect("two", two_).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE((*carrier)->usable());
  // Given back with the batch under way it is of no use any more, and makes room.
  batch.passage.reset();
  batch.done.WaitForNotification();
  EXPECT_FALSE((*carrier)->usable());
  nccl_.Set({});
  EXPECT_TRUE(Connect("two", two_).ok());
  EXPECT_EQ(sender_.connections(), 1);
}

TEST_F(NcclCarriersTest, AnIdleCommunicatorMakesRoom) {
  const auto first = Connect("one", one_);
  ASSERT_TRUE(first.ok());
  ASSERT_TRUE(Connect("two", two_).ok());
  EXPECT_FALSE((*first)->usable());
  EXPECT_EQ((*first)->Take(), nullptr);
  EXPECT_EQ(sender_.connections(), 1);
  EXPECT_EQ(nccl_.communicators(), 3);  // one of the sender; the first receiver does not know yet
}

TEST_F(NcclCarriersTest, APeerThatRefusesLeavesNoCommunicator) {
  const auto refuse = [](const std::string&, absl::Time) -> absl::StatusOr<std::string> {
    return absl::FailedPreconditionError("no NCCL here");
  };
  EXPECT_EQ(sender_.Connect("three", refuse, Soon()).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(sender_.connections(), 0);
  EXPECT_EQ(nccl_.communicators(), 0);
}

TEST_F(NcclCarriersTest, StopEndsAConnectThatWaits) {
  nccl_.Set({.join_hangs = true});
  absl::Notification asked;
  const auto exchange = [&](const std::string&, absl::Time) {
    asked.Notify();
    return std::string();
  };
  absl::Status connected;
  std::thread waits([&] { connected = sender_.Connect("one", exchange, Soon()).status(); });
  asked.WaitForNotification();
  sender_.Stop();
  waits.join();
  EXPECT_EQ(connected.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(nccl_.communicators(), 0);
}

TEST_F(NcclCarriersTest, ACommunicatorThatIsBeingJoinedIsNotEvicted) {
  nccl_.Set({.join_hangs = true});
  absl::Notification asked;
  const auto exchange = [&](const std::string&, absl::Time) {
    asked.Notify();
    return std::string();
  };
  std::thread waits([&] { (void)sender_.Connect("one", exchange, Soon()); });
  asked.WaitForNotification();
  EXPECT_EQ(Connect("two", two_).status().code(), absl::StatusCode::kResourceExhausted);
  sender_.Stop();
  waits.join();
}

TEST_F(NcclCarriersTest, ABatchOutOfTurnBreaksTheCommunicator) {
  const auto carrier = Connect("one", one_);
  ASSERT_TRUE(carrier.ok());
  auto passage = (*carrier)->Take();
  const std::string bytes(10, 'x');
  std::vector<std::string> slips;
  absl::Notification told;
  for (int i = 0; i < 2; ++i) {
    const auto tell = [&, i](const absl::StatusOr<std::string>& slip) {
      if (slip.ok()) slips.push_back(*slip);
      if (i == 0) told.Notify();
    };
    ASSERT_TRUE(passage->Send({{MemorySpace::kHost, bytes.data(), 10}}, Soon(), tell, [] {}).ok());
  }
  told.WaitForNotification();
  std::string later = slips[0];
  later[8] = 1;  // the number of the batch
  char memory[10];
  const MemoryRef to{MemorySpace::kHost, memory, 10};
  EXPECT_EQ(one_.Receive(later, to, PayloadCarriers::Checksum::kNo, Soon(), [](const auto&) { FAIL(); }).code(),
            absl::StatusCode::kDataLoss);
  EXPECT_FALSE(one_.Receive(slips[0], to, PayloadCarriers::Checksum::kNo, Soon(), [](const auto&) { FAIL(); }).ok());
}

TEST_F(NcclCarriersTest, BatchesThatAreEmptyOrTooLargeAreLeftToTheCaller) {
  const auto carrier = Connect("one", one_);
  ASSERT_TRUE(carrier.ok());
  const auto passage = (*carrier)->Take();
  const std::string bytes(1001, 'x');
  for (const int64_t size : {int64_t{0}, int64_t{1001}}) {
    const auto sent = passage->Send(
        {{MemorySpace::kHost, bytes.data(), size}}, Soon(), [](const auto&) { FAIL(); }, [] { FAIL(); });
    EXPECT_EQ(sent.code(), absl::StatusCode::kResourceExhausted);
  }
}

TEST(JoinRunsTest, JoinsNeighboursOfOneSpace) {
  char a[100];
  int64_t bytes = -1;
  EXPECT_TRUE(JoinRuns({}, bytes).empty());
  EXPECT_EQ(bytes, 0);
  const std::vector<ConstMemoryRef> parts = {{MemorySpace::kDevice, a, 10},     {MemorySpace::kDevice, a + 10, 5},
                                             {MemorySpace::kDevice, a + 50, 0}, {MemorySpace::kDevice, a + 15, 1},
                                             {MemorySpace::kDevice, a + 17, 3}, {MemorySpace::kHost, a + 20, 4},
                                             {MemorySpace::kDevice, a + 24, 76}};
  const auto runs = JoinRuns(parts, bytes);
  EXPECT_EQ(bytes, 99);
  ASSERT_EQ(runs.size(), 4u);
  EXPECT_EQ(runs[0].bytes, 16);
  EXPECT_EQ(runs[1].address, a + 17);
  EXPECT_EQ(runs[2].space, MemorySpace::kHost);
  EXPECT_EQ(runs[3].bytes, 76);
}

}  // namespace
}  // namespace decant
