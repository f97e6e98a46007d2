#include "common/link/loopback_link.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/link_conformance.h"
#include "tests/support/recording_sink.h"

namespace decant {
namespace {

class LoopbackReach {
 public:
  explicit LoopbackReach(FrameSink& sink) : link_(&absl::Now, [](absl::Duration time) { absl::SleepFor(time); }) {
    link_.Add("here", sink);
  }
  FrameLink& link() { return link_; }
  std::string address() const { return "here"; }

 private:
  LoopbackLink link_;
};

INSTANTIATE_TYPED_TEST_SUITE_P(Loopback, LinkConformance, LoopbackReach);

TEST(LoopbackLinkTest, WaitsOnTheClockItIsGiven) {
  absl::Time now = absl::UnixEpoch();
  std::vector<absl::Duration> waits;
  LoopbackLink link([&] { return now; },
                    [&](absl::Duration time) {
                      waits.push_back(time);
                      now += time;
                    });
  RecordingSink sink;
  sink.at_grant = [](uint64_t, const BatchHeader&) { return absl::ResourceExhaustedError("never"); };
  link.Add("here", sink);
  const absl::Time deadline = now + absl::Milliseconds(50);
  auto sender = link.Open("here", OpenOf(1), deadline);
  ASSERT_TRUE(sender.ok()) << sender.status();
  EXPECT_EQ((*sender)->Send(0, {}, deadline).code(), absl::StatusCode::kDeadlineExceeded);
  const auto ms = [](int count) { return absl::Milliseconds(count); };
  EXPECT_EQ(waits, (std::vector<absl::Duration>{ms(1), ms(2), ms(4), ms(8), ms(16), ms(19)}));
  EXPECT_EQ(now, deadline);
  EXPECT_EQ(sink.Received(1).aborted, 1);
}

TEST(LoopbackLinkTest, FindsNothingAtAnAddressThatWasRemoved) {
  RecordingSink sink;
  LoopbackReach reach(sink);
  static_cast<LoopbackLink&>(reach.link()).Remove("here");
  EXPECT_EQ(reach.link().Open("here", OpenOf(1), Soon()).status().code(), absl::StatusCode::kUnavailable);
}

TEST(LoopbackLinkTest, RefusesDeviceMemory) {
  RecordingSink sink;
  LoopbackReach reach(sink);
  auto sender = reach.link().Open("here", OpenOf(1), Soon());
  ASSERT_TRUE(sender.ok()) << sender.status();
  const ConstMemoryRef part{MemorySpace::kDevice, nullptr, 8};
  EXPECT_EQ((*sender)->Send(0, {&part, 1}, Soon()).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(sink.Received(1).aborted, 1);
}

}  // namespace
}  // namespace decant
