#include "common/compress/capabilities.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/compress/profile_names.h"

namespace decant {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr Geometry kGeometry{4, 8, 2, 64};

Profile Shipped(const char* name) {
  static const Catalogue* const catalogue = new Catalogue(*Catalogue::BuiltIn());
  return *catalogue->Find(name);
}

// One illegal change to a legal profile: the message names both stages, or the field, and says what to do.
struct Forbidden {
  const char* base;
  void (*change)(Profile&);
  const char* first;
  const char* second;
  const char* advice;
};

class ForbiddenPairTest : public testing::TestWithParam<Forbidden> {};

TEST_P(ForbiddenPairTest, NamesBothStagesAndTheWayOut) {
  Profile profile = Shipped(GetParam().base);
  ASSERT_TRUE(Compile(profile, kGeometry, RunType::kBf16).ok());
  GetParam().change(profile);
  for (const RunType run_type : {RunType::kBf16, RunType::kF32}) {
    const absl::Status status = Compile(profile, kGeometry, run_type).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(GetParam().base), HasSubstr(GetParam().first),
                                                     HasSubstr(GetParam().second), HasSubstr(GetParam().advice)));
  }
}

const Forbidden kPairs[] = {
    // Section 5, rule 2: transforms.
    {"kivi4", [](Profile& p) { p.hadamard = 64; }, "hadamard 64", "high 'k4_channels'", "scales per token"},
    {"kivi2", [](Profile& p) { p.hadamard = 16; }, "hadamard 16", "high 'k2_channels'", "no hadamard"},
    // Rule 3: rope.
    {"atom-kv4", [](Profile& p) { p.hadamard = 64; }, "hadamard 64", "rope 'pre'", "rope to post"},
    {"atom-kv4", [](Profile& p) { p.balance = "channel"; }, "balance 'channel'", "rope 'pre'", "rope to post"},
    {"quest", [](Profile& p) { p.rope = "pre"; }, "read_tokens 512", "rope 'pre'", "rope to post"},
    {"xkv", [](Profile& p) { p.rope = "pre"; }, "group_layers 4", "rope 'pre'", "rope to post"},
    {"snapkv", [](Profile& p) { p.rope = "pre"; }, "rope 'pre'", "high 'full'", "tracked format"},
    {"snapkv", [](Profile& p) { p.rope = "pre"; }, "allocate 'top'", "positions", "tracked format"},
    {"kvzip", [](Profile& p) { p.rope = "pre"; }, "allocate 'global'", "high 'full'", "tracked format"},
    {"fastkv",
     [](Profile& p) {
       p.rope = "pre";
       p.allocate = "all_high";
       p.score = "none";
     },
     "propagation_depth 0.5", "high 'full'", "tracked format"},
    {"streamingllm",
     [](Profile& p) {
       p.high = "full";
       p.online = "none";
     },
     "rope 'pre'", "high 'full'", "tracked format"},
    // Rule 4: frozen groups and split rows.
    {"k8v4", [](Profile& p) { p.high = "k4_channels"; }, "high 'k4_channels'", "allocate 'all_high'", "window_split"},
    {"snapkv", [](Profile& p) { p.low = "v2_groups"; }, "low 'v2_groups'", "allocate 'top'", "window_split"},
    {"kivi4", [](Profile& p) { p.online = "none"; }, "allocate 'window_split'", "online 'none'", "online to freeze"},
    {"kivi4", [](Profile& p) { p.online = "heavy_hitter"; }, "allocate 'window_split'", "online 'heavy_hitter'",
     "online to freeze"},
    {"h2o", [](Profile& p) { p.online = "freeze"; }, "online 'freeze'", "allocate 'top'", "by window_split"},
    {"kivi4", [](Profile& p) { p.high = "k8v4"; }, "allocate 'window_split'", "high 'k8v4'", "k4_channels"},
    {"kivi4", [](Profile& p) { p.high = "v4_groups"; }, "allocate 'window_split'", "high 'v4_groups'", "k4_channels"},
    {"kivi4", [](Profile& p) { p.low = "k4v4"; }, "allocate 'window_split'", "low 'k4v4'", "v4_groups"},
    {"kivi4", [](Profile& p) { p.low = ""; }, "allocate 'window_split'", "low ''", "v2_groups"},
    {"kivi4", [](Profile& p) { p.score = "last_window"; }, "allocate 'window_split'", "score 'last_window'",
     "score to none"},
    {"kivi4", [](Profile& p) { p.propagation_depth = 0.5; }, "allocate 'window_split'", "propagation_depth 0.5",
     "to 0"},
    {"kivi4", [](Profile& p) { p.read_tokens = 64; }, "read_tokens 64", "high 'k4_channels'", "full_indexed"},
    {"kivi4", [](Profile& p) { p.rope = "pre"; }, "rope 'pre'", "allocate 'window_split'", "as they are"},
    {"kivi4", [](Profile& p) { p.balance = "channel"; }, "balance 'channel'", "allocate 'window_split'", "as they are"},
    {"mikv", [](Profile& p) { p.balance = "none", p.rope = "pre"; }, "rope 'pre'", "low 'k2v2_groups'", "one scale"},
    // Rule 5: ragged sets and shared bases.
    {"xkv",
     [](Profile& p) {
       p.allocate = "top";
       p.score = "last_window";
     },
     "group_layers 4", "allocate 'top'", "all_high"},
    {"xkv",
     [](Profile& p) {
       p.allocate = "global";
       p.score = "replay";
     },
     "group_layers 4", "allocate 'global'", "all_high"},
    {"xkv",
     [](Profile& p) {
       p.allocate = "layer_shares";
       p.score = "all_queries";
     },
     "group_layers 4", "allocate 'layer_shares'", "sinks_and_recent"},
    {"xkv",
     [](Profile& p) {
       p.allocate = "threshold_by_position";
       p.score = "all_later_queries";
     },
     "group_layers 4", "allocate 'threshold_by_position'", "all_high"},
    {"xkv", [](Profile& p) { p.propagation_depth = 0.5; }, "group_layers 4", "propagation_depth 0.5", "to 0"},
    {"xkv",
     [](Profile& p) {
       p.high = "full_tracked";
       p.allocate = "sinks_and_recent";
       p.score = "position";
       p.online = "sinks_and_recent";
     },
     "group_layers 4", "online 'sinks_and_recent'", "online to none"},
    {"xkv", [](Profile& p) { p.code = "entropy"; }, "group_layers 4", "code 'entropy'", "code to raw"},
    // Rule 6: scores and who reads them.
    {"snapkv", [](Profile& p) { p.score = "none"; }, "allocate 'top'", "score is 'none'", "last_window"},
    {"kvzip", [](Profile& p) { p.score = "none"; }, "allocate 'global'", "score is 'none'", "last_window"},
    {"k8v4", [](Profile& p) { p.score = "last_window"; }, "score 'last_window'", "allocate 'all_high'", "none"},
    {"diffkv",
     [](Profile& p) {
       p.score = "replay";
       p.online = "none";
     },
     "allocate 'threshold_by_position'", "score 'replay'", "by budget"},
    {"diffkv-release",
     [](Profile& p) {
       p.score = "position";
       p.online = "none";
     },
     "allocate 'threshold_by_length'", "score 'position'", "by budget"},
    {"streamingllm", [](Profile& p) { p.score = "all_queries"; }, "allocate 'sinks_and_recent'", "score 'all_queries'",
     "to position"},
    {"fastkv",
     [](Profile& p) {
       p.score = "replay";
       p.replay_first = p.replay_later = "Repeat";
     },
     "score 'replay'", "propagation_depth 0.5", "last_window"},
    // Rule 7: read policy and statistics.
    {"quest", [](Profile& p) { p.hadamard = 64; }, "hadamard 64", "read_tokens 512", "as they are"},
    {"quest", [](Profile& p) { p.balance = "channel"; }, "balance 'channel'", "read_tokens 512", "as they are"},
    {"quest", [](Profile& p) { p.high = "full"; }, "read_tokens 512", "high 'full'", "full_indexed"},
    {"quest", [](Profile& p) { p.high = "k4v4"; }, "read_tokens 512", "high 'k4v4'", "full_indexed"},
    {"quest", [](Profile& p) { p.read_tokens = p.dense_layers = 0; }, "high 'full_indexed'", "read_tokens 0",
     "use full"},
    {"quest",
     [](Profile& p) {
       p.low = "k4v4";
       p.allocate = "top";
       p.score = "last_window";
     },
     "read_tokens 512", "low 'k4v4'", "remove low"},
    // Online policies.
    {"h2o", [](Profile& p) { p.high = "full"; }, "online 'heavy_hitter'", "high 'full'", "tracked format"},
    {"h2o", [](Profile& p) { p.score = "last_window"; }, "online 'heavy_hitter'", "score 'last_window'",
     "to all_queries"},
    {"h2o", [](Profile& p) { p.allocate = "global"; }, "online 'heavy_hitter'", "allocate 'global'", "pyramid"},
    {"h2o", [](Profile& p) { p.allocate = "all_high"; }, "online 'heavy_hitter'", "allocate 'all_high'", "top"},
    {"streamingllm", [](Profile& p) { p.high = "full"; }, "online 'sinks_and_recent'", "high 'full'", "tracked"},
    {"h2o", [](Profile& p) { p.online = "sinks_and_recent"; }, "online 'sinks_and_recent'", "allocate 'top'",
     "by sinks_and_recent"},
    {"prefixkv", [](Profile& p) { p.high = "full"; }, "online 'keep_share'", "high 'full'", "tracked format"},
    {"prefixkv", [](Profile& p) { p.allocate = "global"; }, "online 'keep_share'", "allocate 'global'", "layer_shares"},
    {"mikv", [](Profile& p) { p.low = ""; }, "online 'demote_oldest'", "high 'full_tracked'", "low format"},
    {"mikv", [](Profile& p) { p.low = "k4v4"; }, "online 'demote_oldest'", "low 'k4v4'", "tracked format"},
    {"mikv", [](Profile& p) { p.score = "last_window"; }, "online 'demote_oldest'", "score 'last_window'",
     "to all_queries"},
    {"diffkv", [](Profile& p) { p.score = "last_window"; }, "online 'diffkv_paper'", "score 'last_window'",
     "to all_later_queries"},
    {"diffkv-release", [](Profile& p) { p.score = "all_queries"; }, "online 'diffkv_code'", "score 'all_queries'",
     "to last_window"},
    {"diffkv", [](Profile& p) { p.allocate = "top"; }, "online 'diffkv_paper'", "allocate 'top'", "by a threshold"},
    // Tiers.
    {"diffkv", [](Profile& p) { p.low = "k8v4"; }, "low 'k8v4'", "high 'k8v4'", "smaller"},
    {"mikv", [](Profile& p) { p.low = "full_tracked"; }, "low 'full_tracked'", "high 'full_tracked'", "smaller"},
    {"k8v4", [](Profile& p) { p.low = "k4v2"; }, "low 'k4v2'", "allocate 'all_high'", "remove one"},
    {"streamingllm", [](Profile& p) { p.low = "k4v2"; }, "low 'k4v2'", "allocate 'sinks_and_recent'", "remove low"},
    {"kvzip", [](Profile& p) { p.allocate = "global_tiers"; }, "allocate 'global_tiers'", "high 'full'",
     "name a low format"},
};

const Forbidden kRanges[] = {
    {"snapkv", [](Profile& p) { p.budget = 0; }, "budget 0;", "above 0", "at most 1"},
    {"snapkv", [](Profile& p) { p.budget = 1.01; }, "budget 1.01", "above 0", "at most 1"},
    {"snapkv", [](Profile& p) { p.budget = -1; }, "budget -1", "above 0", "at most 1"},
    {"snapkv", [](Profile& p) { p.window = 0; }, "window 0", "dropped", "at least 1"},
    {"snapkv", [](Profile& p) { p.score_queries = 0; }, "score_queries 0", "last_window", "at least 1"},
    {"snapkv", [](Profile& p) { p.pool_width = 4; }, "pool_width 4", "pool 'max'", "odd"},
    {"snapkv", [](Profile& p) { p.pool_width = 0; }, "pool_width 0", "pool 'max'", "odd"},
    {"snapkv", [](Profile& p) { p.window = p.sinks = 40000; }, "window 40000", "sinks 40000", "budget 0.2"},
    {"pyramidkv", [](Profile& p) { p.beta = 0.5; }, "beta 0.5", "top layer", "from 1"},
    {"prefixkv",
     [](Profile& p) {
       p.layer_shares = {1, 1, 1};
     },
     "layer_shares has 3", "4 layers", "keep something"},
    {"prefixkv",
     [](Profile& p) {
       p.layer_shares = {0, 0, 0, 0};
     },
     "layer_shares has 4", "4 layers", "keep something"},
    {"kivi4", [](Profile& p) { p.window = 100; }, "window 100", "online 'freeze'", "multiple of 32"},
    {"kivi4", [](Profile& p) { p.window = 0; }, "window 0", "moved", "at least 1"},
    {"saw-int4", [](Profile& p) { p.hadamard = 48; }, "hadamard 48", "head_dim 64", "power of two"},
    {"saw-int4", [](Profile& p) { p.hadamard = 128; }, "hadamard 128", "head_dim 64", "power of two"},
    {"saw-int4", [](Profile& p) { p.hadamard = 1; }, "hadamard 1;", "head_dim 64", "power of two"},
    {"xkv", [](Profile& p) { p.key_rank = 0; }, "key_rank 0", "group_layers 4", "above 0"},
    {"xkv", [](Profile& p) { p.value_rank = 1.5; }, "value_rank 1.5", "group_layers 4", "at most 1"},
    {"xkv", [](Profile& p) { p.value_rank = 0.0001; }, "value_rank 0.0001", "rank 0", "at least 1"},
    {"int4", [](Profile& p) { p.key_levels = 17; }, "key_levels 17", "high 'k4v4'", "from 2 to 16"},
    {"int4", [](Profile& p) { p.value_levels = 1; }, "value_levels 1", "high 'k4v4'", "from 2 to 16"},
    {"k4v1", [](Profile& p) { p.value_levels = 3; }, "value_levels 3", "high 'k4v1'", "from 2 to 2"},
    {"full", [](Profile& p) { p.key_levels = 8; }, "key_levels 8", "high 'full'", "set it to 0"},
    {"mikv", [](Profile& p) { p.key_levels = 5; }, "key_levels 5", "low 'k2v2_groups'", "from 2 to 4"},
    {"kivi4", [](Profile& p) { p.value_levels = 17; }, "value_levels 17", "low 'v4_groups'", "from 2 to 16"},
    {"fastkv", [](Profile& p) { p.propagation_depth = 1; }, "propagation_depth 1;", "every token", "below 1"},
    {"fastkv", [](Profile& p) { p.propagation_share = 0; }, "propagation_share 0;", "go on", "above 0"},
    {"fastkv", [](Profile& p) { p.propagation_share = 1.5; }, "propagation_share 1.5", "go on", "at most 1"},
    {"kvzip", [](Profile& p) { p.replay_first = ""; }, "replay_first", "score 'replay'", "instruction"},
    {"kvzip", [](Profile& p) { p.replay_chunk = 0; }, "replay_chunk", "score 'replay'", "not 0"},
    {"diffkv", [](Profile& p) { p.alpha_low = 2; }, "alpha_low 2", "alpha_high 1", "swap"},
    {"diffkv", [](Profile& p) { p.low = ""; }, "alpha_low 0.02", "alpha_high 1", "name one"},
    {"diffkv", [](Profile& p) { p.alpha_high = 1e300; }, "alpha_high 1e+300", "alpha_low", "finite"},
    // Fields that no stage reads.
    {"full", [](Profile& p) { p.budget = 0.5; }, "budget", "allocation by budget", "remove it"},
    {"diffkv", [](Profile& p) { p.budget = 0.5; }, "budget", "allocation by budget", "remove it"},
    {"kvzip", [](Profile& p) { p.high_share = 0.5; }, "high_share", "global_tiers", "remove it"},
    {"snapkv", [](Profile& p) { p.beta = 10; }, "beta", "pyramid", "remove it"},
    {"snapkv", [](Profile& p) { p.alpha_high = 1; }, "alpha_high", "threshold", "remove it"},
    {"snapkv", [](Profile& p) { p.replay_first = "x"; }, "replay_first", "score replay", "remove it"},
    {"snapkv",
     [](Profile& p) {
       p.layer_shares = {1, 1, 1, 1};
     },
     "layer_shares", "allocate layer_shares", "remove it"},
    {"h2o", [](Profile& p) { p.pool_width = 3; }, "pool_width", "average or max", "remove it"},
    {"h2o", [](Profile& p) { p.score_queries = 8; }, "score_queries", "last_window", "remove it"},
    {"diffkv", [](Profile& p) { p.sinks = 4; }, "sinks", "allocation by budget", "remove it"},
    {"diffkv", [](Profile& p) { p.pool = "max"; }, "pool", "allocation by budget", "remove it"},
    {"full", [](Profile& p) { p.key_rank = 0.5; }, "key_rank", "group_layers", "remove it"},
    {"full", [](Profile& p) { p.dense_layers = 2; }, "dense_layers", "read_tokens", "remove it"},
    {"snapkv", [](Profile& p) { p.propagation_share = 0.5; }, "propagation_share", "propagation_depth", "remove it"},
    {"full", [](Profile& p) { p.reduce = "mean"; }, "reduce", "allocation by score", "remove it"},
};

INSTANTIATE_TEST_SUITE_P(Pairs, ForbiddenPairTest, testing::ValuesIn(kPairs));
INSTANTIATE_TEST_SUITE_P(Ranges, ForbiddenPairTest, testing::ValuesIn(kRanges));

// Scorers and allocators mix freely, and transforms with token-wise formats.
TEST(LegalPairTest, EveryScoreWithEveryBudget) {
  for (const auto& score : kScoreNames) {
    if (score.value == ScoreSource::kNone) continue;
    for (const char* allocate : {"top", "pyramid", "layer_shares", "global", "global_tiers", "top_tiers"}) {
      Profile profile = Shipped("snapkv");
      profile.score = std::string(score.name);
      profile.allocate = allocate;
      profile.score_queries = score.value == ScoreSource::kLastWindow ? 32 : 64;
      if (score.value == ScoreSource::kReplay) profile.replay_first = profile.replay_later = "Repeat";
      profile.high = "k8v4";
      if (profile.allocate == "global_tiers" || profile.allocate == "top_tiers") {
        profile.low = "k4v2";
        profile.high_share = 0.5;
      }
      const auto recipe = Compile(profile, kGeometry, RunType::kBf16);
      EXPECT_TRUE(recipe.ok()) << recipe.status();
    }
  }
}

TEST(LegalPairTest, TransformsFormatsAndHooksMix) {
  const std::pair<const char*, void (*)(Profile&)> cases[] = {
      {"kvzip",
       [](Profile& p) {
         p.high = "k4v4";
         p.hadamard = 64;
       }},
      {"kvzip", [](Profile& p) { p.allocate = "pyramid"; }},
      {"mikv", [](Profile& p) { p.hadamard = 32; }},  // the balance is folded into the keys first
      {"mikv", [](Profile& p) { p.allocate = "global"; }},
      {"mikv", [](Profile& p) { p.key_levels = 3; }},
      {"snapkv",
       [](Profile& p) {
         p.high = "full_indexed";
         p.read_tokens = 128;
       }},
      {"snapkv",
       [](Profile& p) {
         p.high = "k4v4_tracked";
         p.rope = "pre";
       }},
      {"fastkv",
       [](Profile& p) {
         p.high = "k4v4_tracked";
         p.rope = "pre";
       }},
      {"h2o",
       [](Profile& p) {
         p.allocate = "pyramid";
         p.high = "k8v4";
       }},
      {"xkv",
       [](Profile& p) {
         p.allocate = "sinks_and_recent";
         p.score = "position";
         p.high = "full_tracked";
       }},
      {"xkv", [](Profile& p) { p.group_layers = 1; }},
      {"diffkv",
       [](Profile& p) {
         p.code = "entropy";
         p.key_levels = 200;
       }},
      {"diffkv", [](Profile& p) { p.allocate = "all_high"; }},
      {"kivi4",
       [](Profile& p) {
         p.window = 32;
         p.code = "entropy";
       }},
      {"snapkv", [](Profile& p) { p.budget = 1; }},
      {"prefixkv",
       [](Profile& p) {
         p.layer_shares = {2, 1, 0.5, 0.5};
       }},
  };
  for (const auto& [base, change] : cases) {
    Profile profile = Shipped(base);
    change(profile);
    const auto recipe = Compile(profile, kGeometry, RunType::kBf16);
    EXPECT_TRUE(recipe.ok()) << recipe.status();
  }
}

TEST(CapsTest, DeclareWhatTheRulesReadOff) {
  EXPECT_EQ(CapsOf(ScoreSource::kReplay).needs, kReplayPass);
  EXPECT_EQ(CapsOf(ScoreSource::kLastWindow).needs, kWindowQueries);
  EXPECT_EQ(CapsOf(ScoreSource::kPosition).needs, kNoSignal);
  EXPECT_TRUE(CapsOf(Allocation::kGlobal, false).cross_layer);
  EXPECT_TRUE(CapsOf(Allocation::kTop, false).drops);
  EXPECT_FALSE(CapsOf(Allocation::kTop, true).drops);
  EXPECT_FALSE(CapsOf(Allocation::kLayerShares, false).ragged_heads);
  EXPECT_TRUE(CapsOf(Allocation::kLayerShares, false).ragged_layers);
  EXPECT_FALSE(CapsOf(Allocation::kSinksAndRecent, false).ragged_layers);
  EXPECT_FALSE(CapsOf(FormatId::kChannelK4).token_separable);
  EXPECT_EQ(CapsOf(FormatId::kChannelK4).token_group, 32);
  EXPECT_TRUE(CapsOf(FormatId::kK8V4).lossy);
  EXPECT_FALSE(CapsOf(FormatId::kTrackedBf16).lossy);
  EXPECT_EQ(CapsOf(KeyForm{0, 0, 0}).rope, RopeNeed::kPre);
  EXPECT_TRUE(CapsOf(KeyForm{1, 4, 0}).conjugates_q);
  EXPECT_TRUE(CapsOf(KeyForm{1, 0, 1}).conjugates_q);
  EXPECT_FALSE(CapsOf(KeyForm{1, 0, 1}).mixes_channels);
  EXPECT_EQ((CapsOf(LowRank{4, 8, 8}).layer_group), 4);
  EXPECT_TRUE(CapsOf(OnlinePolicy::kDemoteOldest).online);
  EXPECT_FALSE(CapsOf(OnlinePolicy::kDemoteOldest).drops);
}

}  // namespace
}  // namespace decant
