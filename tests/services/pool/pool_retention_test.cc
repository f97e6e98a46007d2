// Retention means the same under every eviction policy: priorities come first, last as long as was said, fit into the
// tenant's budget, and pin nothing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/services/pool/pool_rig.h"

namespace decant {
namespace {

using namespace pool_rig;
using ::testing::SizeIs;

constexpr int kRoom = 10;   // chunks of `full`
constexpr int kBudget = 3;  // of them above the default priority
constexpr int kMany = 12;   // newcomers that would displace everything else

class PoolRetentionTest : public testing::TestWithParam<PoolEviction> {
 protected:
  static PoolLimits Limits() {
    Pool probe(PoolLimits(), TestCatalogue(), TestTables());
    EXPECT_TRUE(PublishAll(probe, kStart, PromptOf(1, 1), "full").ok());
    PoolLimits limits;
    limits.capacity_bytes = kRoom * probe.tier().bytes();
    limits.eviction = GetParam();
    limits.ladder = {"full", "k8v4"};
    TenantTerms terms;
    terms.retention_budget_bytes = kBudget * probe.tier().bytes();
    limits.tenants = TenantTable(terms);
    return limits;
  }
  void Publish(const Prompt& prompt, absl::Time now = kStart) {
    ASSERT_TRUE(PublishAll(pool_, now, prompt, "full").ok());
  }
  void Fill(uint64_t seed, int chunks, absl::Time now = kStart) {
    for (int i = 0; i < chunks; ++i) Publish(PromptOf(seed + static_cast<uint64_t>(i), 1), now);
  }
  // As requests do.
  void Use(const Prompt& prompt) {
    const auto offer = pool_.Plan(kStart, DemandOf(prompt));
    ASSERT_TRUE(offer.ok()) << offer.status();
    ASSERT_NE(offer->lease, 0u);
    pool_.Release(kStart, offer->lease, "");
  }
  HintReceipt Retain(const Prompt& prompt, int32_t priority) {
    Hint hint;
    hint.kind = HintKind::kRetain;
    hint.keys = prompt.keys;
    hint.priority = priority;
    hint.duration = absl::Minutes(1);
    const std::vector<HintReceipt> receipts = pool_.TakeHints(kStart, "", {hint});
    EXPECT_THAT(receipts, SizeIs(1));
    EXPECT_EQ(receipts[0].outcome, HintOutcome::kExecuted) << receipts[0].reason;
    return receipts[0];
  }
  size_t Stored(const Prompt& prompt) const {
    size_t stored = 0;
    for (const Digest& key : prompt.keys) stored += pool_.index().Find(key).size();
    return stored;
  }

  Pool pool_{Limits(), TestCatalogue(), TestTables()};
};

TEST_P(PoolRetentionTest, WhatIsUnwantedGoesFirstHoweverMuchItIsUsed) {
  const Prompt unwanted = PromptOf(1, 1);
  Publish(unwanted);
  Fill(100, kRoom - 1);
  for (int use = 0; use < 4; ++use) Use(unwanted);
  Retain(unwanted, 0);
  Fill(200, 1);
  EXPECT_EQ(Stored(unwanted), 0u);
  EXPECT_EQ(pool_.stats().chunks, kRoom);
}

TEST_P(PoolRetentionTest, WhatIsRetainedStaysForItsTimeAndNoLonger) {
  const Prompt kept = PromptOf(1, 1);
  Publish(kept);
  Retain(kept, kMostPriority);
  Fill(100, kMany);
  EXPECT_EQ(Stored(kept), 1u);
  const absl::Time later = kStart + absl::Minutes(2);
  Fill(200, kMany, later);
  EXPECT_EQ(Stored(kept), 0u);
}

TEST_P(PoolRetentionTest, NoMoreIsRetainedThanTheBudgetHolds) {
  const Prompt kept = PromptOf(1, kBudget + 2);
  Publish(kept);
  EXPECT_TRUE(Retain(kept, 60).clamped);
  Fill(100, kMany);
  EXPECT_EQ(Stored(kept), static_cast<size_t>(kBudget));
}

TEST_P(PoolRetentionTest, OfWhatIsRetainedTheLowerPriorityGoesFirstAndNothingWedges) {
  const Prompt high = PromptOf(1, 1), low = PromptOf(2, 1);
  Publish(high);
  Publish(low);
  Retain(high, 90);
  Retain(low, 80);
  // All others are leased: nothing else is left to go.
  for (uint64_t seed = 100; seed < 100 + kRoom - 2; ++seed) {
    Publish(PromptOf(seed, 1));
    ASSERT_NE(pool_.Plan(kStart, DemandOf(PromptOf(seed, 1)))->lease, 0u);
  }
  const Prompt first = PromptOf(200, 1), second = PromptOf(201, 1);
  Publish(first);
  EXPECT_EQ(Stored(first), 1u);
  EXPECT_EQ(Stored(low), 0u);
  EXPECT_EQ(Stored(high), 1u);
  ASSERT_NE(pool_.Plan(kStart, DemandOf(first))->lease, 0u);
  Publish(second);
  EXPECT_EQ(Stored(second), 1u);
  EXPECT_EQ(Stored(high), 0u);
}

std::string NameOfPolicy(const testing::TestParamInfo<PoolEviction>& policy) {
  constexpr const char* kNames[] = {"lru", "s3fifo", "steps", "ladder"};
  return kNames[static_cast<size_t>(policy.param)];
}

INSTANTIATE_TEST_SUITE_P(All, PoolRetentionTest,
                         testing::Values(PoolEviction::kLru, PoolEviction::kS3Fifo, PoolEviction::kSteps,
                                         PoolEviction::kLadder),
                         NameOfPolicy);

}  // namespace
}  // namespace decant
