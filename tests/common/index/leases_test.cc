#include "common/index/leases.h"

#include <algorithm>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace decant {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

const absl::Time kStart = absl::FromUnixSeconds(1000);

TEST(LeaseTableTest, GivesEntriesBackOnce) {
  LeaseTable leases(4);
  const uint64_t id = leases.Grant("", {1, 2}, kStart + absl::Seconds(5)).value();
  EXPECT_NE(id, 0u);
  EXPECT_THAT(leases.Find(id, "", kStart).value()->entries, ElementsAre(1, 2));
  EXPECT_THAT(leases.Release(id, ""), ElementsAre(1, 2));
  EXPECT_THAT(leases.Release(id, ""), IsEmpty());
  EXPECT_THAT(leases.Expire(absl::InfiniteFuture()), IsEmpty());
  EXPECT_EQ(leases.held(), 0u);
}

TEST(LeaseTableTest, EndsAtTheDeadline) {
  LeaseTable leases(4);
  const absl::Time deadline = kStart + absl::Seconds(5);
  const uint64_t early = leases.Grant("", {1}, deadline).value();
  const uint64_t late = leases.Grant("", {2}, deadline + absl::Nanoseconds(1)).value();
  EXPECT_TRUE(leases.Find(early, "", deadline - absl::Nanoseconds(1)).ok());
  EXPECT_EQ(leases.Find(early, "", deadline).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(leases.Expire(deadline), ElementsAre(1));
  EXPECT_TRUE(leases.Find(late, "", deadline).ok());
  EXPECT_THAT(leases.Expire(deadline + absl::Seconds(1)), ElementsAre(2));
}

TEST(LeaseTableTest, HeartbeatsEndWithTheLastDeadline) {
  LeaseTable leases(4);
  const absl::Time last = kStart + absl::Seconds(8);
  const uint64_t id = leases.Grant("", {1}, kStart + absl::Seconds(5), last).value();
  for (int second = 1; second < 8; ++second) {
    const absl::Time now = kStart + absl::Seconds(second);
    EXPECT_TRUE(leases.Renew(id, "", now, now + absl::Seconds(5)).ok());
    EXPECT_THAT(leases.Expire(now), IsEmpty());
  }
  EXPECT_EQ(leases.Renew(id, "", last, last + absl::Seconds(5)).code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(leases.Expire(last), ElementsAre(1));
}

TEST(LeaseTableTest, RenewalOnlyMovesTheDeadlineAway) {
  LeaseTable leases(4);
  const uint64_t id = leases.Grant("", {1}, kStart + absl::Seconds(5)).value();
  EXPECT_TRUE(leases.Renew(id, "", kStart, kStart + absl::Seconds(1)).ok());
  EXPECT_THAT(leases.Expire(kStart + absl::Seconds(4)), IsEmpty());
  EXPECT_TRUE(leases.Renew(id, "", kStart, kStart + absl::Seconds(9)).ok());
  EXPECT_THAT(leases.Expire(kStart + absl::Seconds(6)), IsEmpty());
  EXPECT_EQ(leases.Renew(id, "", kStart + absl::Seconds(9), kStart + absl::Seconds(20)).code(),
            absl::StatusCode::kNotFound);
  EXPECT_THAT(leases.Expire(kStart + absl::Seconds(9)), ElementsAre(1));
}

TEST(LeaseTableTest, HidesOneTenantsLeaseFromAnother) {
  LeaseTable leases(4);
  const uint64_t id = leases.Grant("blue", {1}, kStart + absl::Seconds(5)).value();
  EXPECT_EQ(leases.Find(id, "red", kStart).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(leases.Find(id, "red", kStart).status().message(),
            leases.Find(id, "blue", kStart + absl::Hours(1)).status().message());
  EXPECT_THAT(leases.Release(id, "red"), IsEmpty());
  EXPECT_TRUE(leases.Find(id, "blue", kStart).ok());
  EXPECT_THAT(leases.Release(id, "blue"), ElementsAre(1));
}

TEST(LeaseTableTest, NumbersFollowFromASecret) {
  LeaseTable one(4, "one");
  LeaseTable other(4, "other");
  const uint64_t first = one.Grant("", {1}, kStart).value();
  const uint64_t second = one.Grant("", {1}, kStart).value();
  EXPECT_NE(first, other.Grant("", {1}, kStart).value());
  EXPECT_GT(std::max(first, second) - std::min(first, second), 1000u) << "they do not count up";
  EXPECT_EQ(LeaseTable(4, "one").Grant("", {1}, kStart).value(), first);
}

TEST(LeaseTableTest, RefusesBeyondItsLimit) {
  LeaseTable leases(2);
  ASSERT_TRUE(leases.Grant("", {1}, kStart).ok());
  ASSERT_TRUE(leases.Grant("", {1, 2}, kStart).ok());
  EXPECT_EQ(leases.Grant("", {3}, kStart).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(leases.Expire(kStart), UnorderedElementsAre(1, 1, 2));
  EXPECT_TRUE(leases.Grant("", {3}, kStart).ok());
}

TEST(LeaseTableTest, ATenantAtItsLimitLeavesOthersAlone) {
  LeaseTable leases(2);
  const auto grant = [&](const std::string& tenant) { return leases.Grant(tenant, {1}, kStart); };
  const uint64_t first = grant("a").value();
  ASSERT_TRUE(grant("a").ok());
  EXPECT_EQ(grant("a").status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(grant("b").ok());
  EXPECT_EQ(leases.HeldBy("a"), 2u);
  leases.Release(first, "a");
  EXPECT_TRUE(grant("a").ok());
  leases.Expire(kStart);
  EXPECT_EQ(leases.HeldBy("a") + leases.HeldBy("b"), 0u);
  EXPECT_TRUE(grant("a").ok());
}

}  // namespace
}  // namespace decant
