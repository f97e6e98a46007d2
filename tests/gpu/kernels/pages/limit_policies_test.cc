// The policies that hold a head to a number of tokens, each over a long decode beside what its method says.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <numeric>
#include <set>
#include <vector>

#include "common/base/random.h"
#include "common/compress/allocate/heavy_hitters.h"
#include "common/compress/allocate/streaming.h"
#include "common/compress/arith/online_evict.h"
#include "tests/gpu/kernels/pages/page_rig.h"

namespace decant {
namespace {

// What the query at position n gives the token at `position`; multiples of 1/8, so that ties come up and sums are
// exact in any order.
float Attention(int32_t n, int32_t position) {
  const uint64_t popular = MixBits(3, static_cast<uint64_t>(position) * 512 + static_cast<uint64_t>(n / 40)) % 5;
  const uint64_t noise = MixBits(4, static_cast<uint64_t>(position) * 8191 + static_cast<uint64_t>(n)) % 4;
  return static_cast<float>(popular * noise) * 0.125f;
}

class LimitPolicyTest : public ::testing::TestWithParam<KernelDevice> {
 protected:
  static RigOptions Limited(OnlinePolicy policy, int32_t limit, int32_t window, int32_t sinks);
};
using HeavyHitterTest = LimitPolicyTest;
using SinksAndRecentTest = LimitPolicyTest;
using DemoteOldestTest = LimitPolicyTest;
using KeepShareTest = LimitPolicyTest;
DECANT_ON_KERNEL_DEVICES(HeavyHitterTest);
DECANT_ON_KERNEL_DEVICES(SinksAndRecentTest);
DECANT_ON_KERNEL_DEVICES(DemoteOldestTest);
DECANT_ON_KERNEL_DEVICES(KeepShareTest);

RigOptions LimitPolicyTest::Limited(OnlinePolicy policy, int32_t limit, int32_t window, int32_t sinks) {
  RigOptions options;
  options.device = GetParam().create;
  options.geometry = Geometry{1, 1, 1, 8};
  options.page_count = 200;
  options.capacity = 200;
  options.page_bytes = 320;
  options.high = FormatId::kTrackedF32;
  options.low = FormatId::kNone;
  options.policy = policy;
  options.limit = limit;
  options.window = window;
  options.sinks = sinks;
  return options;
}

// One decode step: the new token's key is its position.
void Step(PageRig& rig, int32_t n) {
  rig.Plan();
  rig.Append(static_cast<float>(n));
  ASSERT_FALSE(rig.TookError());
  rig.AddScores(0, 0, 0, [n](int32_t position) { return Attention(n, position); });
  rig.Advance();
}

std::map<int32_t, float> Held(PageRig& rig, int32_t tier = kHigh) {
  std::map<int32_t, float> held;
  for (const StoredToken& token : rig.Tokens(0, 0, 0, tier)) {
    held[token.position] = token.score;
    // What a slot says and what it holds went the same way.
    if (tier == kHigh) {
      EXPECT_EQ(token.k[0], static_cast<float>(token.position));
    }
  }
  return held;
}

std::vector<int32_t> Positions(const std::map<int32_t, float>& held) {
  std::vector<int32_t> positions;
  for (const auto& [position, sum] : held) positions.push_back(position);
  return positions;
}

// Test (m) of the methods' list. The oracle evicts after a step, the rows when the next token comes: they hold what it
// keeps and the newest token.
TEST_P(HeavyHitterTest, EqualsBruteForceOverALongDecode) {
  const int32_t steps = GetParam().Steps(500);
  for (const int32_t heavy : {0, 1, 12}) {
    for (const int32_t recent : {1, 5}) {
      PageRig rig(Limited(OnlinePolicy::kHeavyHitter, heavy + recent + 1, recent, 0));
      HeavyHitters oracle(heavy, recent);
      for (int32_t n = 0; n < steps; ++n) {
        const std::vector<int32_t> kept = oracle.positions();
        Step(rig, n);
        std::vector<float> row;
        for (const int32_t position : kept) row.push_back(Attention(n, position));
        row.push_back(Attention(n, n));
        const std::vector<int32_t> attended = Positions(Held(rig));
        std::vector<int32_t> expected = kept;
        expected.push_back(n);
        ASSERT_EQ(attended, expected) << "step " << n << " heavy " << heavy << " recent " << recent;
        oracle.Step(row);
        const std::map<int32_t, float> held = Held(rig);
        for (size_t i = 0; i < oracle.positions().size(); ++i) {
          ASSERT_EQ(held.at(oracle.positions()[i]), oracle.sums()[i]) << "step " << n;
        }
      }
      EXPECT_EQ(rig.dropped(), steps - (heavy + recent + 1));
      EXPECT_EQ(rig.demoted(), 0);
    }
  }
}

TEST_P(SinksAndRecentTest, KeepsTheFirstAndTheLast) {
  const int32_t steps = GetParam().Steps(100);
  for (const int32_t sinks : {0, 1, 4}) {
    for (const int32_t recent : {1, 2, 30}) {
      PageRig rig(Limited(OnlinePolicy::kSinksAndRecent, sinks + recent, 0, sinks));
      for (int32_t n = 0; n < steps; ++n) {
        const StreamingRuns runs = StreamingKeep({sinks, recent}, n, 1);
        std::vector<int32_t> expected;
        for (int32_t t = 0; t <= n; ++t) {
          if (t < runs.first || t >= runs.second) expected.push_back(t);
        }
        Step(rig, n);
        ASSERT_EQ(Positions(Held(rig)), expected) << "step " << n << " sinks " << sinks << " recent " << recent;
      }
    }
  }
}

// MiKV: the sets of H2O, but what leaves the important ones goes low with its score, and nothing is lost.
TEST_P(DemoteOldestTest, WhatLeavesTheImportantSetGoesLow) {
  RigOptions options = Limited(OnlinePolicy::kDemoteOldest, 12, 4, 0);
  options.low = FormatId::kK4V2;
  PageRig rig(options);
  HeavyHitters oracle(7, 4);
  std::set<int32_t> low;
  const int32_t steps = GetParam().Steps(300);
  for (int32_t n = 0; n < steps; ++n) {
    Step(rig, n);
    std::vector<int32_t> high = oracle.positions();
    high.push_back(n);
    ASSERT_EQ(Positions(Held(rig)), high) << "step " << n;
    std::vector<float> row;
    for (const int32_t position : high) row.push_back(Attention(n, position));
    const std::vector<int32_t> now_low = Positions(Held(rig, kLow));
    ASSERT_EQ(now_low, std::vector<int32_t>(low.begin(), low.end()));
    oracle.Step(row);
    for (const int32_t position : high) {
      const auto& kept = oracle.positions();
      if (!std::binary_search(kept.begin(), kept.end(), position)) low.insert(position);
    }
  }
  EXPECT_EQ(rig.demoted(), steps - 12);
  EXPECT_EQ(rig.dropped(), 0);
}

// PrefixKV as its released code does it: a list of entries, of which the one at a fixed index is deleted while there
// are more than the layer's share of all tokens seen.
TEST_P(KeepShareTest, DeletesAtTheFixedIndexOfTheReleasedCode) {
  const int32_t steps = GetParam().Steps(120);
  for (const int32_t prompt : {1, 10, 26, 60}) {
    for (const float share : {0.25f, 0.5f, 1.0f}) {
      RigOptions options = Limited(OnlinePolicy::kKeepShare, KeepShareIndex(prompt), 1, 0);
      options.keep_share = share;
      PageRig rig(options);
      std::vector<int32_t> list(static_cast<size_t>(prompt));
      std::iota(list.begin(), list.end(), 0);
      std::string batch(static_cast<size_t>(prompt) * 64, '\0');
      ImportRun run;
      run.tokens = prompt;
      for (int32_t n = 0; n < prompt; ++n) {
        for (int32_t i = 0; i < 8; ++i) {
          const auto key = static_cast<float>(n);
          std::memcpy(batch.data() + (n * 8 + i) * 4, &key, 4);
        }
      }
      run.values = int64_t{prompt} * 32;
      rig.GrowAndImport(0, 0, batch, {run});
      rig.SetLength(0, prompt);
      const int32_t index = prompt - 25 < 1 ? prompt / 2 : prompt - 25;
      int32_t dropped = 0;
      for (int32_t n = prompt; n < prompt + steps; ++n) {
        const auto allowed = static_cast<size_t>(share * static_cast<float>(n) + 0.5f);
        if (list.size() > allowed) {
          list.erase(list.begin() + index);
          ++dropped;
        }
        list.push_back(n);
        Step(rig, n);
        ASSERT_EQ(Positions(Held(rig)), list) << "prompt " << prompt << " share " << share << " step " << n;
      }
      EXPECT_EQ(rig.dropped(), dropped);
      EXPECT_TRUE(share < 1.0f ? dropped > 0 || steps < 120 : dropped == 0) << dropped;
    }
  }
}

TEST(VictimTest, TiesLetTheLaterOneGoAndNoNumberGoesFirst) {
  EvictRule rule;
  rule.policy = OnlinePolicy::kHeavyHitter;
  rule.window = 2;
  rule.position = 10;
  Victim victim;
  for (const int32_t position : {3, 7, 5, 8, 9}) ScanVictim(rule, position, position, 0.5f, victim);
  EXPECT_EQ(victim.position, 7);  // 8 and 9 lie in the window
  ScanVictim(rule, 1, 1, std::nanf(""), victim);
  EXPECT_EQ(victim.position, 1);
}

}  // namespace
}  // namespace decant
