#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "common/base/random.h"
#include "tests/gpu/kernels/pages/page_rig.h"
#include "tests/gpu/kernels/pages/policy_oracle.h"

namespace decant {
namespace {

class PlanStepTest : public ::testing::TestWithParam<KernelDevice> {};
DECANT_ON_KERNEL_DEVICES(PlanStepTest);

RigOptions OptionsOn(const KernelDevice& device) {
  RigOptions options;
  options.device = device.create;
  return options;
}

struct Schedule {
  OnlinePolicy policy;
  float alpha_high;
  float alpha_low;
  int32_t window;
  int32_t steps;
};

// What the query at position n gives the token at `position`: a few tokens matter, and what matters changes.
float Attention(uint64_t seed, int32_t n, int32_t position) {
  const float popular = UniformFloat(seed, static_cast<uint64_t>(position * 4096 + n / 64));
  const float noise = UniformFloat(seed + 1, static_cast<uint64_t>(position) * 8191 + static_cast<uint64_t>(n));
  return popular * popular * popular * noise * 8.0f / static_cast<float>(n + 1);
}

uint64_t HeadSeed(int32_t sequence, int32_t layer, int32_t head) {
  return static_cast<uint64_t>(1000 + sequence * 100 + layer * 10 + head);
}

void ExpectTier(PageRig& rig, int32_t s, int32_t layer, int32_t h, int32_t tier,
                const std::map<int, PolicyOracle::Token>& expected) {
  const std::vector<StoredToken> tokens = rig.Tokens(s, layer, h, tier);
  ASSERT_EQ(tokens.size(), expected.size());
  for (size_t slot = 0; slot < tokens.size(); ++slot) {
    const auto found = expected.find(tokens[slot].position);
    ASSERT_NE(found, expected.end()) << "position " << tokens[slot].position;
    EXPECT_EQ(found->second.slot, static_cast<int>(slot));
    EXPECT_EQ(found->second.sum, tokens[slot].score) << "position " << tokens[slot].position;
  }
}

// Runs the kernels beside one oracle per head and compares everything after every step; returns the branches taken.
std::set<std::string> RunBesideOracle(const KernelDevice& device, const Schedule& schedule) {
  RigOptions options = OptionsOn(device);
  options.geometry = Geometry{2, 4, 2, 8};
  options.sequences = 2;
  options.page_count = 400;
  options.capacity = 64;
  options.page_bytes = 320;
  options.policy = schedule.policy;
  options.alpha_high = schedule.alpha_high;
  options.alpha_low = schedule.alpha_low;
  options.window = schedule.window;
  PageRig rig(options);
  const bool paper = schedule.policy == OnlinePolicy::kDiffKvPaper;
  PolicyOracle oracles[2][2][2];
  std::set<std::string> branches;
  int64_t demoted = 0;
  int64_t dropped = 0;
  for (int32_t n = 0; n < device.Steps(schedule.steps); ++n) {
    rig.Plan();
    rig.Append(static_cast<float>(n));
    for (int32_t s = 0; s < 2; ++s) {
      for (int32_t layer = 0; layer < 2; ++layer) {
        for (int32_t h = 0; h < 2; ++h) {
          PolicyOracle& oracle = oracles[s][layer][h];
          oracle.paper = paper;
          oracle.alpha_high = schedule.alpha_high;
          oracle.alpha_low = schedule.alpha_low;
          oracle.window = schedule.window;
          const uint64_t seed = HeadSeed(s, layer, h);
          // The stored sums still hold the newest token's own query, which the paper does not count.
          if (paper && n > 0 && oracle.high.count(n - 1) != 0) oracle.high[n - 1].sum = 0;
          oracle.Step(n);
          ExpectTier(rig, s, layer, h, kHigh, oracle.high);
          ExpectTier(rig, s, layer, h, kLow, oracle.low);
          if (testing::Test::HasFatalFailure()) return branches;
          for (auto* tier : {&oracle.high, &oracle.low}) {
            for (auto& [position, token] : *tier) token.sum += Attention(seed, n, position);
          }
          rig.AddScores(s, layer, h, [&](int32_t position) { return Attention(seed, n, position); });
          branches.insert(oracle.branches.begin(), oracle.branches.end());
        }
      }
    }
    rig.Advance();
  }
  for (auto& sequence : oracles) {
    for (auto& layer : sequence) {
      for (auto& oracle : layer) {
        demoted += oracle.demoted;
        dropped += oracle.dropped;
      }
    }
  }
  EXPECT_EQ(rig.demoted(), demoted);
  EXPECT_EQ(rig.dropped(), dropped);
  EXPECT_FALSE(rig.TookError());
  return branches;
}

TEST_P(PlanStepTest, PaperPolicyMatchesTheOracleAfterEveryStep) {
  auto branches = RunBesideOracle(GetParam(), {OnlinePolicy::kDiffKvPaper, 1.0f, 0.3f, 8, 200});
  // A tier is skipped from one step to the next only where the thresholds are close.
  branches.merge(RunBesideOracle(GetParam(), {OnlinePolicy::kDiffKvPaper, 1.0f, 0.9f, 8, 200}));
  if (GetParam().shorter > 1) return;
  EXPECT_EQ(branches, (std::set<std::string>{"no candidate", "keep", "keep, demote", "keep, drop", "insert low",
                                             "insert low, drop", "drop"}));
}

TEST_P(PlanStepTest, CodePolicyMatchesTheOracleAfterEveryStep) {
  const auto branches = RunBesideOracle(GetParam(), {OnlinePolicy::kDiffKvCode, 0.8f, 0.3f, 8, 200});
  if (GetParam().shorter > 1) return;
  EXPECT_EQ(branches, (std::set<std::string>{"short", "append", "prune", "swap", "demote"}));
}

TEST_P(PlanStepTest, PoliciesMatchAtTheirEdges) {
  for (const OnlinePolicy policy : {OnlinePolicy::kDiffKvPaper, OnlinePolicy::kDiffKvCode}) {
    RunBesideOracle(GetParam(), {policy, 0.5f, 0.5f, 8, 60});    // one tier
    RunBesideOracle(GetParam(), {policy, 50.0f, 20.0f, 1, 30});  // thresholds above 1, window 1
    RunBesideOracle(GetParam(), {policy, 1.0f, 0.0f, 8, 60});    // nothing is ever dropped
    RunBesideOracle(GetParam(), {policy, 1.0f, 0.1f, 70, 90});   // W > 64
    RunBesideOracle(GetParam(), {policy, 0.0f, 0.0f, 4, 30});    // everything stays high
  }
}

// D5: the released prepare_append gave every head a low page at its first step, needed or not.
TEST_P(PlanStepTest, D5HeadThatNeedsNoPageTakesNone) {
  RigOptions options = OptionsOn(GetParam());
  options.policy = OnlinePolicy::kDiffKvPaper;
  options.alpha_high = 0;
  options.alpha_low = 0;
  PageRig rig(options);
  const int32_t page_tokens = rig.arena().layouts[static_cast<int32_t>(FormatId::kK8V4)].tokens;
  for (int32_t n = 0; n < 3 * page_tokens; ++n) {
    rig.Plan();
    rig.Append(1.0f);
    rig.Advance();
    const HeadState head = rig.Head(0, 0, 0);
    EXPECT_EQ(head.pages[kHigh], n / page_tokens + 1);
    EXPECT_EQ(head.pages[kLow], 0);
    EXPECT_EQ(head.tokens[kHigh], n + 1);
  }
}

TEST_P(PlanStepTest, HeadsTakePagesInOrderWhateverTheThreads) {
  std::vector<int32_t> ids[2];
  for (const int threads : {1, 2}) {
    RigOptions options = OptionsOn(GetParam());
    options.geometry = Geometry{3, 2, 2, 8};
    options.sequences = 3;
    options.threads = threads;
    PageRig rig(options);
    rig.Plan();
    for (int32_t s = 0; s < 3; ++s) {
      for (int32_t layer = 0; layer < 3; ++layer) {
        for (int32_t h = 0; h < 2; ++h) ids[threads - 1].push_back(rig.PageIds(s, layer, h, kHigh).at(0));
      }
    }
  }
  EXPECT_EQ(ids[0], ids[1]);
  for (int32_t i = 0; i < 18; ++i) EXPECT_EQ(ids[0][static_cast<size_t>(i)], i);
}

TEST_P(PlanStepTest, RunningOutLeavesTheHeadsThatGotNothingAsTheyWere) {
  RigOptions options = OptionsOn(GetParam());
  options.geometry = Geometry{1, 3, 3, 8};
  options.page_count = 2;
  PageRig rig(options);
  rig.Plan();
  EXPECT_TRUE(rig.TookError());
  EXPECT_EQ(rig.FreePages(), 0);
  rig.Append(1.0f);
  EXPECT_EQ(rig.Head(0, 0, 0).tokens[kHigh], 1);
  EXPECT_EQ(rig.Head(0, 0, 1).tokens[kHigh], 1);
  EXPECT_EQ(rig.Head(0, 0, 2).tokens[kHigh], 0);
  EXPECT_EQ(rig.Head(0, 0, 2).pages[kHigh], 0);
  EXPECT_EQ(rig.Action(0, 0, 2).high_slot, -1);
}

TEST_P(PlanStepTest, FullRowIsAnErrorNotAnOverlap) {
  RigOptions options = OptionsOn(GetParam());
  options.capacity = 1;
  options.high = FormatId::kFullF32;
  options.low = FormatId::kNone;
  PageRig rig(options);
  const int32_t page_tokens = rig.arena().layouts[static_cast<int32_t>(FormatId::kFullF32)].tokens;
  for (int32_t n = 0; n < page_tokens; ++n) {
    rig.Plan();
    rig.Append(1.0f);
    rig.Advance();
  }
  EXPECT_FALSE(rig.TookError());
  rig.Plan();
  EXPECT_TRUE(rig.TookError());
  EXPECT_EQ(rig.Head(0, 0, 0).pages[kHigh], 1);
}

}  // namespace
}  // namespace decant
