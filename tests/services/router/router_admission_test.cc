// Who is served and who is refused when more comes than can be in time.
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/services/router/router_rig.h"

namespace decant {
namespace {

using ::testing::HasSubstr;

RouterLimits OnePlace() {
  RouterLimits limits = RouterRig::SmallLimits();
  limits.prefills_per_worker = 1;
  return limits;
}

RequestTerms Within(double ttft_ms) {
  RequestTerms terms;
  terms.slo.ttft_ms = ttft_ms;
  return terms;
}

// From here on the router knows: ten tokens hold a place for a second.
void Teach(RouterRig& rig) {
  rig.AskUntilPoured("tentokens!");
  rig.Pass(absl::Seconds(1));
  rig.PrefillOk();
  rig.SayLast(0, "abcdefgh");
}

TEST(RouterAdmissionTest, AdmitsEverybodyAsLongAsItKnowsNothing) {
  RouterRig rig(OnePlace());
  for (int i = 0; i < 5; ++i) EXPECT_EQ(rig.ErrorOf(rig.Ask("tentokens!", Within(1))), absl::StatusCode::kOk);
}

TEST(RouterAdmissionTest, RefusesAtOnceWhoWouldBeLate) {
  RouterRig rig(OnePlace());
  Teach(rig);
  rig.Ask("tentokens!");  // runs: half of it is still to come
  const RequestNumber in_time = rig.Ask("tentokens!", Within(1600));
  EXPECT_EQ(rig.ErrorOf(in_time), absl::StatusCode::kOk);
  // 0.5 s for what runs, 1 s for what waits, 1 s of its own.
  const RequestNumber late = rig.Ask("tentokens!", Within(2400));
  EXPECT_EQ(rig.ErrorOf(late), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(rig.MessageOf(late), HasSubstr("2500 ms"));
  EXPECT_THAT(rig.MessageOf(late), HasSubstr("others wait before it"));
  EXPECT_EQ(rig.ErrorOf(rig.Ask("tentokens!", Within(2600))), absl::StatusCode::kOk);
  EXPECT_EQ(rig.ErrorOf(rig.Ask("tentokens!")), absl::StatusCode::kOk) << "who states no time waits";
}

TEST(RouterAdmissionTest, RefusesAtItsTurnWhoHasWaitedTooLong) {
  RouterRig rig(OnePlace());
  Teach(rig);
  rig.AskUntilPoured("tentokens!");
  const RequestNumber waits = rig.Ask("tentokens!", Within(2000));
  rig.Pass(absl::Milliseconds(1500));
  const size_t plans = rig.world.plans.size();
  rig.PrefillOk();  // it took longer than the last one
  EXPECT_EQ(rig.ErrorOf(waits), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(rig.world.plans.size(), plans);
}

TEST(RouterAdmissionTest, ServesWhomNoMachineCouldServeInTime) {
  RouterRig rig(OnePlace());
  Teach(rig);
  const RequestNumber hasty = rig.Ask("tentokens!", Within(10));
  EXPECT_EQ(rig.ErrorOf(hasty), absl::StatusCode::kOk);
  EXPECT_EQ(rig.world.plans.size(), 2u);
}

TEST(RouterAdmissionTest, NobodyWaitsForPagesBeyondTheFirstTokensTime) {
  RouterRig rig;
  rig.Ask("tentokens!", Within(3000));
  rig.Pass(absl::Seconds(1));
  rig.PlanOk();
  rig.NoPages();
  EXPECT_EQ(rig.world.reserves.back().query.wait, absl::Seconds(2));
  rig.Ask("tentokens!");
  rig.PlanOk();
  rig.NoPages();
  EXPECT_EQ(rig.world.reserves.back().query.wait, RouterRig::SmallLimits().reserve_wait);
}

TEST(RouterAdmissionTest, AFreePlaceIsNoWait) {
  RouterLimits limits = RouterRig::SmallLimits();
  limits.prefills_per_worker = 2;
  RouterRig rig(limits);
  Teach(rig);
  rig.Ask("tentokens!");
  EXPECT_EQ(rig.ErrorOf(rig.Ask("tentokens!", Within(1001))), absl::StatusCode::kOk);
}

}  // namespace
}  // namespace decant
