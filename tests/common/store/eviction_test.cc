// LRU, S3-FIFO and steps-to-execution alone, in front of a list of entries that all count one.
#include "common/store/eviction.h"

#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/random.h"
#include "common/store/ladder.h"
#include "common/store/lru.h"
#include "common/store/s3_fifo.h"
#include "common/store/steps.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/mooncake_trace.h"
#include "tests/support/paths/paths.h"

namespace decant {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

EvictionFacts Facts(uint64_t operation, int32_t depth = 0, uint64_t key = 0) {
  EvictionFacts facts;
  facts.use.operation = operation;
  facts.depth = depth;
  facts.key = key;
  return facts;
}

EntryUse At(uint64_t operation) {
  EntryUse use;
  use.operation = operation;
  return use;
}

std::vector<uint64_t> EvictAll(EvictionPolicy& policy) {
  std::vector<uint64_t> order;
  while (const auto victim = policy.Evict([](uint64_t) { return true; })) order.push_back(*victim);
  return order;
}

// ---- What every policy must do.

struct NamedPolicy {
  std::string name;
  std::unique_ptr<EvictionPolicy> (*make)();
};
class AnyPolicyTest : public testing::TestWithParam<NamedPolicy> {
 protected:
  std::unique_ptr<EvictionPolicy> policy_ = GetParam().make();
};

TEST_P(AnyPolicyTest, EvictsEachEntryOnce) {
  for (uint64_t entry = 1; entry <= 20; ++entry) policy_->Track(entry, Facts(entry, 0, entry));
  for (uint64_t entry = 1; entry <= 20; entry += 3) policy_->Touch(entry, At(30 + entry));
  std::vector<uint64_t> order = EvictAll(*policy_);
  EXPECT_EQ(std::set<uint64_t>(order.begin(), order.end()).size(), 20u);
  EXPECT_EQ(order.size(), 20u);
}

TEST_P(AnyPolicyTest, NeverEvictsWhatIsHeldOrRefused) {
  for (uint64_t entry = 1; entry <= 4; ++entry) policy_->Track(entry, Facts(entry, 0, entry));
  policy_->Hold(1);
  policy_->Hold(2);
  policy_->Touch(2, At(9));  // held ones are used too
  EXPECT_EQ(policy_->Evict([](uint64_t entry) { return entry == 4; }), 4u);
  EXPECT_EQ(policy_->Evict([](uint64_t entry) { return entry != 3; }), std::nullopt);
  EXPECT_THAT(EvictAll(*policy_), ElementsAre(3));
  policy_->LetGo(1);
  policy_->LetGo(2);
  EXPECT_EQ(EvictAll(*policy_).size(), 2u);
}

TEST_P(AnyPolicyTest, ForgottenAndUnknownEntriesAreNothing) {
  policy_->Track(1, Facts(1, 0, 1));
  policy_->Track(2, Facts(2, 0, 2));
  policy_->Hold(2);
  policy_->Forget(2);
  policy_->Forget(1);
  policy_->Forget(1);
  policy_->Touch(1, At(3));
  policy_->Hold(1);
  policy_->LetGo(1);
  policy_->SetPriority(1, 90);
  EXPECT_THAT(EvictAll(*policy_), IsEmpty());
  policy_->Track(1, Facts(4, 0, 1));
  EXPECT_THAT(EvictAll(*policy_), ElementsAre(1));
}

TEST_P(AnyPolicyTest, LetsTheDeepestOfOneOperationGoFirst) {
  for (uint64_t entry = 1; entry <= 5; ++entry) {
    policy_->Track(entry, Facts(1, static_cast<int32_t>(entry) * 64, entry));
  }
  EXPECT_THAT(EvictAll(*policy_), ElementsAre(5, 4, 3, 2, 1));
}

TEST_P(AnyPolicyTest, EvenTheHighestPriorityGoesWhenNothingElseIsLeft) {
  for (uint64_t entry = 1; entry <= 3; ++entry) policy_->Track(entry, Facts(entry, 0, entry));
  policy_->SetPriority(1, kMostPriority);
  policy_->SetPriority(2, 80);
  EXPECT_THAT(EvictAll(*policy_), ElementsAre(3, 2, 1));
}

// What was used most and last goes before what was not, when somebody wanted it to.
TEST_P(AnyPolicyTest, PrioritiesComeBeforeWhatThePolicyThinks) {
  for (uint64_t entry = 1; entry <= 12; ++entry) policy_->Track(entry, Facts(entry, 0, entry));
  uint64_t operation = 100;
  const std::vector<uint64_t> loved = {4, 5, 6};
  for (int use = 0; use < 4; ++use) {
    for (const uint64_t entry : loved) policy_->Touch(entry, At(++operation));
  }
  policy_->SetPriority(4, 0);
  policy_->SetPriority(5, kDefaultPriority - 1);
  policy_->SetPriority(1, kDefaultPriority + 1);
  policy_->SetPriority(2, kMostPriority);
  policy_->SetPriority(3, 50);
  policy_->SetPriority(3, kDefaultPriority);  // its time is over
  const std::vector<uint64_t> order = EvictAll(*policy_);
  ASSERT_EQ(order.size(), 12u);
  EXPECT_THAT(std::vector<uint64_t>(order.begin(), order.begin() + 2), ElementsAre(4, 5));
  EXPECT_THAT(std::vector<uint64_t>(order.end() - 3, order.end()), ElementsAre(6, 1, 2)) << "6 was used most";
}

TEST_P(AnyPolicyTest, WhatMayNotGoKeepsTheNextPriorityFromWaiting) {
  for (uint64_t entry = 1; entry <= 3; ++entry) policy_->Track(entry, Facts(entry, 0, entry));
  policy_->SetPriority(1, 0);
  policy_->SetPriority(2, 10);
  policy_->Hold(1);
  EXPECT_EQ(policy_->Evict([](uint64_t entry) { return entry != 2; }), 3u);
  EXPECT_THAT(EvictAll(*policy_), ElementsAre(2));
  policy_->LetGo(1);
  EXPECT_THAT(EvictAll(*policy_), ElementsAre(1));
}

INSTANTIATE_TEST_SUITE_P(
    All, AnyPolicyTest,
    testing::Values(
        NamedPolicy{"lru", [] { return MakeEviction(EvictionKind::kLru); }},
        NamedPolicy{"s3fifo", [] { return MakeEviction(EvictionKind::kS3Fifo); }},
        NamedPolicy{"steps", []() -> std::unique_ptr<EvictionPolicy> { return std::make_unique<StepsEviction>(); }},
        NamedPolicy{"ladder", []() -> std::unique_ptr<EvictionPolicy> { return std::make_unique<Ladder>(); }}),
    [](const auto& test) { return test.param.name; });

// ---- LRU.

// The oracle: `oracle` order touches head first, each block an operation of its own; leaf first, one a request.
int64_t LruHits(const MooncakeTrace& trace, size_t capacity, bool leaf_first) {
  LruEviction lru;
  std::vector<bool> cached(trace.blocks);
  size_t size = 0;
  int64_t hits = 0;
  uint64_t operation = 0;
  for (const TraceRequest& request : trace.requests) {
    size_t matched = 0;
    while (leaf_first && matched < request.blocks.size() && cached[request.blocks[matched]]) ++matched;
    hits += static_cast<int64_t>(matched);
    ++operation;
    bool prefix = !leaf_first;
    for (size_t i = 0; i < request.blocks.size(); ++i) {
      const uint32_t block = request.blocks[i];
      if (!leaf_first) ++operation;
      if (cached[block]) {
        lru.Touch(block, At(operation));
        hits += prefix ? 1 : 0;
        continue;
      }
      prefix = false;
      lru.Track(block, Facts(operation, static_cast<int32_t>(i)));
      cached[block] = true;
      if (++size > capacity && !leaf_first) {
        cached[lru.Evict([](uint64_t) { return true; }).value()] = false;
        --size;
      }
    }
    for (; size > capacity; --size) cached[lru.Evict([](uint64_t) { return true; }).value()] = false;
  }
  return hits;
}

TEST(LruTest, HitsExactlyWhatTheOracleOfTheMooncakeTracesDoes) {
  const std::string folder = TraceFolder(SourceDir());
  const auto conversation = LoadMooncakeTrace(folder, "conversation");
  const auto synthetic = LoadMooncakeTrace(folder, "synthetic");
  if (!conversation.ok()) GTEST_SKIP() << conversation.status().message();
  ASSERT_EQ(conversation->references, 288500);
  ASSERT_EQ(synthetic->blocks, 43924u);
  EXPECT_EQ(LruHits(*conversation, 1000, false), 12831);
  EXPECT_EQ(LruHits(*conversation, 10000, false), 60921);
  EXPECT_EQ(LruHits(*conversation, 10000, true), 61046);
  EXPECT_EQ(LruHits(*conversation, 200000, true), 105710);
  EXPECT_EQ(LruHits(*synthetic, 3000, false), 22883);
  EXPECT_EQ(LruHits(*synthetic, 10000, false), 51614);
  EXPECT_EQ(LruHits(*synthetic, 10000, true), 51669);
}

// ---- S3-FIFO.

TEST(S3FifoTest, AScanDisplacesNothingThatIsUsed) {
  S3FifoEviction policy;
  const auto any = [](uint64_t) { return true; };
  uint64_t operation = 0;
  for (uint64_t entry = 1; entry <= 50; ++entry) policy.Track(entry, Facts(++operation, 0, entry));
  for (int round = 0; round < 2; ++round) {
    for (uint64_t entry = 1; entry <= 50; ++entry) policy.Touch(entry, At(++operation));
  }
  int lost = 0;
  for (uint64_t entry = 1000; entry < 1500; ++entry) {
    policy.Track(entry, Facts(++operation, 0, entry));
    lost += policy.Evict(any).value() < 1000 ? 1 : 0;
  }
  EXPECT_LE(lost, 5);  // the tenth that the small queue takes; LRU would have lost all fifty
  EXPECT_EQ(policy.in_main() + policy.in_small(), 50u);
}

TEST(S3FifoTest, WhatComesBackSoonEntersTheMainQueue) {
  S3FifoEviction policy;
  uint64_t operation = 0;
  for (uint64_t entry = 1; entry <= 10; ++entry) policy.Track(entry, Facts(++operation, 0, 100 + entry));
  for (uint64_t entry = 2; entry <= 10; ++entry) {
    policy.Touch(entry, At(++operation));
    policy.Touch(entry, At(++operation));
  }
  EXPECT_EQ(policy.Evict([](uint64_t) { return true; }), 1u);
  EXPECT_EQ(policy.remembered(), 1u);
  policy.Track(11, Facts(++operation, 0, 101));
  EXPECT_EQ(policy.remembered(), 0u);
  EXPECT_EQ(policy.in_small(), 9u);
  EXPECT_EQ(policy.in_main(), 1u);
}

TEST(S3FifoTest, MainGivesUsedEntriesAsManyRoundsAsTheyWereUsed) {
  S3FifoEviction policy;
  uint64_t operation = 0;
  for (uint64_t entry = 1; entry <= 3; ++entry) policy.Track(entry, Facts(++operation, 0, entry));
  for (int use = 0; use < 2; ++use) {
    for (uint64_t entry = 1; entry <= 3; ++entry) policy.Touch(entry, At(++operation));
  }
  policy.Track(4, Facts(++operation, 0, 4));
  EXPECT_EQ(policy.Evict([](uint64_t) { return true; }), 4u);  // the others have moved to the main queue
  EXPECT_EQ(policy.in_main(), 3u);
  policy.Touch(1, At(++operation));
  EXPECT_THAT(EvictAll(policy), ElementsAre(2, 3, 1));
}

// ---- Steps to execution.

// N agents run in a cycle, each over one fixed prompt; there is room for C prompts.
int CyclicHits(EvictionPolicy& policy, StepsEviction* steps, int agents, int room, int turns) {
  std::vector<bool> stored(static_cast<size_t>(agents));
  int size = 0;
  int hits = 0;
  for (int turn = 0; turn < turns; ++turn) {
    const auto agent = static_cast<size_t>(turn % agents);
    // Agent a runs next in (a - turn) mod N turns; the one that runs now, in N more.
    const auto tell = [&] {
      for (int a = 0; steps != nullptr && a < agents; ++a) {
        const int until = ((a - turn) % agents + agents) % agents;
        steps->SetSteps(static_cast<uint64_t>(a), until == 0 ? agents : until);
      }
    };
    tell();
    if (stored[agent]) {
      if (turn >= 10 * agents) ++hits;
      policy.Touch(agent, At(static_cast<uint64_t>(turn) + 1));
      continue;
    }
    if (size == room) {
      stored[policy.Evict([](uint64_t) { return true; }).value()] = false;
      --size;
    }
    policy.Track(agent, Facts(static_cast<uint64_t>(turn) + 1));
    stored[agent] = true;
    ++size;
    tell();
  }
  return hits;
}

TEST(StepsTest, ACyclicWorkflowHitsAllButOneOfItsRoomsWhereLruHitsNothing) {
  for (const auto& [agents, room] : std::vector<std::pair<int, int>>{{5, 2}, {5, 4}, {10, 3}, {10, 9}, {4, 1}}) {
    const int measured = 20 * agents * (agents - 1);
    const int turns = 10 * agents + measured;
    LruEviction lru;
    EXPECT_EQ(CyclicHits(lru, nullptr, agents, room, turns), 0);
    StepsEviction steps;
    // (C - 1) / (N - 1) of the turns, exactly: Belady's order.
    EXPECT_EQ(CyclicHits(steps, &steps, agents, room, turns), measured * (room - 1) / (agents - 1))
        << agents << " agents, room for " << room;
  }
}

TEST(StepsTest, WhatNoWorkflowNamesGoesFirstAndIsLeastRecentlyUsed) {
  StepsEviction policy;
  for (uint64_t entry = 1; entry <= 6; ++entry) policy.Track(entry, Facts(entry));
  policy.SetSteps(1, 0);
  policy.SetSteps(2, 3);
  policy.SetSteps(3, 3);
  policy.SetSteps(4, 1);
  policy.Touch(2, At(10));
  policy.Touch(5, At(11));
  EXPECT_THAT(EvictAll(policy), ElementsAre(6, 5, 3, 2, 4, 1));
}

}  // namespace
}  // namespace decant
