// ScoreTokens against the scalar reference of common/compress/score.
#include "gpu/kernels/score/score_tokens.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "common/compress/score/group_reduce.h"
#include "common/compress/score/pool.h"
#include "common/compress/score/protect.h"
#include "tests/support/device_array.h"
#include "tests/support/kernel_devices.h"

namespace decant {
namespace {

constexpr int32_t kQHeads = 6;
constexpr int32_t kKvHeads = 2;
constexpr float kAbsent = -std::numeric_limits<float>::infinity();

struct Scored {
  std::vector<float> scores;
  std::vector<float> ranks;
};

class ScoreTokensTest : public ::testing::TestWithParam<KernelDevice> {
 protected:
  // `rows` of the layer; `args` names everything but addresses and heads.
  Scored Score(ScoreTokensArgs args, const std::vector<float>& sums, const std::vector<float>& replay = {},
               const std::vector<int32_t>& positions = {}) {
    const DeviceArray<float> device_sums(*stream_, sums);
    const DeviceArray<float> device_replay(*stream_, replay);
    const DeviceArray<int32_t> device_positions(*stream_, positions);
    const auto count = static_cast<size_t>(kKvHeads * args.tokens);
    const DeviceArray<float> scores(*stream_, std::vector<float>(count, 99.0f));
    const DeviceArray<float> ranks(*stream_, std::vector<float>(count, 99.0f));
    args.q_heads = kQHeads;
    args.kv_heads = kKvHeads;
    if (!sums.empty()) args.sums = device_sums.data();
    if (!replay.empty()) args.replay = device_replay.data();
    if (!positions.empty()) args.positions = device_positions.data();
    args.scores = scores.data();
    args.ranks = ranks.data();
    ScoreTokens(*stream_, args);
    return {scores.Read(), ranks.Read()};
  }

  const std::unique_ptr<Device> device_ = GetParam().create(int64_t{64} << 20);
  const std::unique_ptr<Stream> stream_ = device_->NewStream();
};

DECANT_ON_KERNEL_DEVICES(ScoreTokensTest);

// Sums with ties, as attention has them where nothing is attended.
std::vector<float> Sums(int32_t heads, int32_t tokens, uint64_t seed) {
  std::vector<float> sums = RandomFloats(static_cast<size_t>(heads * tokens), seed);
  for (float& sum : sums) sum = sum < -0.5f ? 0.0f : sum + 1.0f;
  return sums;
}

std::vector<float> ReducedByReference(GroupReduce reduce, const std::vector<float>& sums, int32_t tokens) {
  std::vector<float> out(static_cast<size_t>(kKvHeads * tokens));
  if (reduce == GroupReduce::kLayerMean) {
    std::vector<float> mean(static_cast<size_t>(tokens));
    MeanOverHeads(sums, tokens, absl::MakeSpan(mean));
    for (size_t i = 0; i < out.size(); ++i) out[i] = mean[i % mean.size()];
    return out;
  }
  const GroupReduction reduction = reduce == GroupReduce::kMax    ? GroupReduction::kMax
                                   : reduce == GroupReduce::kMean ? GroupReduction::kMean
                                                                  : GroupReduction::kSum;
  ReduceGroups(reduction, sums, kQHeads / kKvHeads, tokens, absl::MakeSpan(out));
  return out;
}

// What lies between sinks and window is pooled by itself.
std::vector<float> RanksByReference(const ScoreTokensArgs& args, const std::vector<float>& scores) {
  std::vector<float> ranks(scores.size());
  for (size_t row = 0; row < scores.size(); row += static_cast<size_t>(args.tokens)) {
    const auto in = absl::MakeConstSpan(scores).subspan(row, static_cast<size_t>(args.tokens));
    const auto out = absl::MakeSpan(ranks).subspan(row, static_cast<size_t>(args.tokens));
    ProtectEnds(args.sinks, args.window, out);
    const int32_t open = args.tokens - args.sinks - args.window;
    if (open <= 0) continue;
    const auto first = static_cast<size_t>(args.sinks);
    PoolScores(args.pooling, args.pool_width, in.subspan(first, static_cast<size_t>(open)),
               out.subspan(first, static_cast<size_t>(open)));
  }
  return ranks;
}

TEST_P(ScoreTokensTest, EqualsTheReference) {
  for (const int32_t tokens : {1, 8, 9, 13, 255, 256, 261}) {
    for (const GroupReduce reduce :
         {GroupReduce::kMax, GroupReduce::kMean, GroupReduce::kSum, GroupReduce::kLayerMean}) {
      for (const Pooling pooling : {Pooling::kNone, Pooling::kAverage, Pooling::kMax}) {
        for (const int32_t width : {1, 7}) {
          for (const int32_t sinks : {0, 4}) {
            const std::vector<float> sums = Sums(kQHeads, tokens, static_cast<uint64_t>(tokens + width));
            ScoreTokensArgs args;
            args.source = ScoreSource::kLastWindow;
            args.reduce = reduce;
            args.pooling = pooling;
            args.pool_width = width;
            args.sinks = sinks;
            args.window = 8;
            args.stride = tokens;
            args.rows = tokens;
            args.tokens = tokens;
            const Scored found = Score(args, sums);
            EXPECT_EQ(found.scores, ReducedByReference(reduce, sums, tokens));
            ASSERT_EQ(found.ranks, RanksByReference(args, found.scores))
                << tokens << " tokens, " << sinks << " sinks, width " << width;
          }
        }
      }
    }
  }
}

TEST_P(ScoreTokensTest, AnAverageCountsZerosBeyondTheEnds) {
  ScoreTokensArgs args;
  args.source = ScoreSource::kAllQueries;
  args.pooling = Pooling::kAverage;
  args.pool_width = 3;
  args.window = 1;
  args.stride = args.rows = args.tokens = 4;
  const std::vector<float> ranks = Score(args, std::vector<float>(kQHeads * 4, 3.0f)).ranks;
  // The window behind is no neighbour.
  EXPECT_EQ(std::vector<float>(ranks.begin(), ranks.begin() + 4), (std::vector<float>{2.0f, 3.0f, 2.0f, kProtected}));
}

TEST_P(ScoreTokensTest, RowsOfASelectionStandAtTheirPositions) {
  const std::vector<int32_t> positions = {0, 3, 4, 17, 40, 41, 58, 59};
  const auto rows = static_cast<int32_t>(positions.size());
  const std::vector<float> sums = Sums(kQHeads, rows, 5);
  ScoreTokensArgs args;
  args.source = ScoreSource::kLastWindow;
  args.reduce = GroupReduce::kSum;
  args.pooling = Pooling::kMax;
  args.pool_width = 3;
  args.window = 2;
  args.stride = args.rows = rows;
  args.tokens = 60;
  const Scored found = Score(args, sums, {}, positions);
  // The same rows with nothing between them.
  args.tokens = rows;
  const Scored compact = Score(args, sums);
  for (int32_t head = 0; head < kKvHeads; ++head) {
    for (int32_t t = 0; t < 60; ++t) {
      const auto place = std::find(positions.begin(), positions.end(), t);
      const auto at = static_cast<size_t>(head * 60 + t);
      const auto row = static_cast<size_t>(head * rows + (place - positions.begin()));
      EXPECT_EQ(found.ranks[at], place == positions.end() ? kAbsent : compact.ranks[row]) << t;
      EXPECT_EQ(found.scores[at], place == positions.end() ? 0.0f : compact.scores[row]) << t;
    }
  }
}

TEST_P(ScoreTokensTest, AReplayIsOnePerKvHeadAlready) {
  ScoreTokensArgs args;
  args.source = ScoreSource::kReplay;
  args.window = 2;
  args.rows = args.tokens = 30;
  const std::vector<float> replay = Sums(kKvHeads, 30, 8);
  const Scored found = Score(args, {}, replay);
  EXPECT_EQ(found.scores, replay);
  EXPECT_EQ(found.ranks[30], replay[30]);
  EXPECT_EQ(found.ranks[28], kProtected);
  args.reduce = GroupReduce::kLayerMean;
  const Scored mean = Score(args, {}, replay);
  EXPECT_EQ(mean.ranks[3], (replay[3] + replay[33]) / 2);
  EXPECT_EQ(mean.ranks[33], mean.ranks[3]);
  // Nothing was repeated: everything is sink or window.
  args.rows = args.tokens = 2;
  EXPECT_EQ(Score(args, {}).ranks, std::vector<float>(4, kProtected));
}

TEST_P(ScoreTokensTest, PositionsRankByThemselves) {
  ScoreTokensArgs args;
  args.source = ScoreSource::kPosition;
  args.sinks = 2;
  args.window = 1;
  args.pooling = Pooling::kAverage;  // has no meaning here
  args.pool_width = 5;
  args.rows = args.tokens = 6;
  const Scored found = Score(args, {});
  EXPECT_EQ(std::vector<float>(found.ranks.begin(), found.ranks.begin() + 6),
            (std::vector<float>{kProtected, kProtected, 2, 3, 4, kProtected}));
  EXPECT_EQ(found.scores, std::vector<float>(12, 0.0f));  // overlays of online policies hold sums alone
}

TEST_P(ScoreTokensTest, WhatIsNoNumberRanksLowestButPresent) {
  ScoreTokensArgs args;
  args.source = ScoreSource::kAllQueries;
  args.stride = args.rows = args.tokens = 3;
  std::vector<float> sums(kQHeads * 3, 1.0f);
  sums[1] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> ranks = Score(args, sums).ranks;
  EXPECT_EQ(ranks[0], 1.0f);
  EXPECT_EQ(ranks[1], std::numeric_limits<float>::lowest());
}

}  // namespace
}  // namespace decant
