#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/base/random.h"
#include "common/compress/allocate/block_choice.h"
#include "common/compress/allocate/keep.h"
#include "common/compress/arith/affine.h"
#include "common/compress/arith/hadamard.h"
#include "common/compress/score/block_bound.h"
#include "common/compress/score/group_reduce.h"
#include "common/compress/score/pool.h"
#include "common/compress/score/protect.h"
#include "common/compress/score/window_attention.h"

namespace decant {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Floats = std::vector<float>;

Floats Uniform(uint64_t seed, size_t count) {
  Floats values(count);
  for (size_t i = 0; i < count; ++i) values[i] = UniformFloat(seed, i) - 0.5f;
  return values;
}

Floats Reduced(GroupReduction reduction, const Floats& scores, int32_t group, int32_t tokens) {
  Floats out(scores.size() / static_cast<size_t>(group));
  ReduceGroups(reduction, scores, group, tokens, absl::MakeSpan(out));
  return out;
}

Floats Pooled(Pooling pooling, int32_t kernel, const Floats& row) {
  Floats out(row.size());
  PoolScores(pooling, kernel, row, absl::MakeSpan(out));
  return out;
}

TEST(GroupReduceTest, HeadsOfAGroupMeetAndGroupsStayApart) {
  // Two groups of two heads, three tokens.
  const Floats scores = {1, 2, 3, 5, 0, 1, -1, -2, -3, -5, -1, 4};
  EXPECT_THAT(Reduced(GroupReduction::kMean, scores, 2, 3), ElementsAre(3, 1, 2, -3, -1.5f, 0.5f));
  EXPECT_THAT(Reduced(GroupReduction::kSum, scores, 2, 3), ElementsAre(6, 2, 4, -6, -3, 1));
  EXPECT_THAT(Reduced(GroupReduction::kMax, scores, 2, 3), ElementsAre(5, 2, 3, -1, -1, 4));
  EXPECT_EQ(Reduced(GroupReduction::kMax, scores, 1, 3), scores);
  EXPECT_THAT(Reduced(GroupReduction::kMean, {}, 4, 0), IsEmpty());
  Floats mean(3);
  MeanOverHeads(scores, 3, absl::MakeSpan(mean));
  EXPECT_THAT(mean, ElementsAre(0, -0.25f, 1.25f));
}

// torch.nn.functional.avg_pool1d(x, 3, padding=1, stride=1) and max_pool1d of the same.
TEST(PoolTest, EndsCountAsZerosForAveragesAndNotAtAllForMaxima) {
  const Floats row = {-3, 6, -9, -6};
  EXPECT_THAT(Pooled(Pooling::kAverage, 3, row), ElementsAre(1, -2, -3, -5));
  EXPECT_THAT(Pooled(Pooling::kMax, 3, row), ElementsAre(6, 6, 6, -6));
  EXPECT_EQ(Pooled(Pooling::kNone, 3, row), row);
  EXPECT_EQ(Pooled(Pooling::kMax, 1, row), row);
  EXPECT_EQ(Pooled(Pooling::kAverage, 1, row), row);
}

TEST(PoolTest, RowsShorterThanTheKernel) {
  EXPECT_THAT(Pooled(Pooling::kAverage, 7, {14}), ElementsAre(2));
  EXPECT_THAT(Pooled(Pooling::kMax, 7, {-3, -5}), ElementsAre(-3, -3));
  EXPECT_THAT(Pooled(Pooling::kMax, 5, {}), IsEmpty());
}

TEST(ProtectTest, EndsAreAsManyAsThereAre) {
  for (const size_t tokens : std::vector<size_t>{0, 1, 3, 4, 5, 9}) {
    Floats row(tokens, 0.5f);
    ProtectEnds(1, 3, absl::MakeSpan(row));
    for (size_t t = 0; t < tokens; ++t)
      EXPECT_EQ(row[t] == kProtected, t < 1 || t + 3 >= tokens) << t << " of " << tokens;
  }
}

TEST(WindowAttentionTest, EqualsASoftmaxInDoubleForSumsAndMaxima) {
  constexpr size_t kDim = 8;
  for (const size_t tokens : std::vector<size_t>{1, 2, 7, 20}) {
    for (const size_t queries : {size_t{1}, tokens / 2 + 1, tokens}) {
      if (queries > tokens) continue;
      const Floats q = Uniform(1, queries * kDim);
      const Floats k = Uniform(2, tokens * kDim);
      std::vector<double> sum(tokens);
      std::vector<double> most(tokens);
      for (size_t i = 0; i < queries; ++i) {
        std::vector<double> row;
        double total = 0;
        for (size_t t = 0; t <= tokens - queries + i; ++t) {
          double dot = 0;
          for (size_t c = 0; c < kDim; ++c) dot += double{q[i * kDim + c]} * k[t * kDim + c];
          row.push_back(std::exp(dot * 3));
          total += row.back();
        }
        for (size_t t = 0; t < row.size(); ++t) {
          sum[t] += row[t] / total;
          most[t] = std::max(most[t], row[t] / total);
        }
      }
      Floats out(tokens);
      WindowAttention(QueryReduction::kSum, q, k, kDim, 3, absl::MakeSpan(out));
      for (size_t t = 0; t < tokens; ++t) EXPECT_NEAR(out[t], sum[t], 1e-5);
      WindowAttention(QueryReduction::kMax, q, k, kDim, 3, absl::MakeSpan(out));
      for (size_t t = 0; t < tokens; ++t) EXPECT_NEAR(out[t], most[t], 1e-6);
    }
  }
}

TEST(WindowAttentionTest, NoQueriesAndLargeScoresStayFinite) {
  Floats out(3, 7.0f);
  WindowAttention(QueryReduction::kSum, {}, Uniform(1, 12), 4, 1, absl::MakeSpan(out));
  EXPECT_THAT(out, ElementsAre(0, 0, 0));
  WindowAttention(QueryReduction::kSum, Floats{1e4f}, Floats{1e4f, -1e4f, 1e4f}, 1, 1, absl::MakeSpan(out));
  EXPECT_THAT(out, ElementsAre(0.5f, 0, 0.5f));
}

// Test (k) of the methods' reference, and (q) for the needle: SnapKV's selection made of its parts.
struct SnapKv {
  Pooling pooling;
  bool pool_before_group;
  int32_t window;
  int32_t cap;
};

std::vector<std::vector<int32_t>> SelectSnapKv(const SnapKv& snap, const Floats& q, const Floats& k, int32_t group,
                                               int32_t tokens, int32_t dim) {
  const int32_t kv_heads = static_cast<int32_t>(k.size()) / tokens / dim;
  const int32_t window = std::min(snap.window, tokens);
  const int32_t past = tokens - window;
  std::vector<std::vector<int32_t>> selected;
  for (int32_t h = 0; h < kv_heads; ++h) {
    Floats scores;
    for (int32_t g = 0; g < group; ++g) {
      Floats row(static_cast<size_t>(tokens));
      const auto head = static_cast<size_t>(h * group + g);
      WindowAttention(
          QueryReduction::kSum,
          absl::MakeConstSpan(q).subspan(head * static_cast<size_t>(window * dim), static_cast<size_t>(window * dim)),
          absl::MakeConstSpan(k).subspan(static_cast<size_t>(h * tokens * dim), static_cast<size_t>(tokens * dim)), dim,
          1 / std::sqrt(static_cast<float>(dim)), absl::MakeSpan(row));
      row.resize(static_cast<size_t>(past));
      if (snap.pool_before_group) row = Pooled(snap.pooling, 7, row);
      scores.insert(scores.end(), row.begin(), row.end());
    }
    scores = Reduced(GroupReduction::kMean, scores, group, past);
    if (!snap.pool_before_group) scores = Pooled(snap.pooling, 7, scores);
    scores.resize(static_cast<size_t>(tokens), kProtected);
    std::vector<uint8_t> kept(static_cast<size_t>(tokens));
    KeepBest(scores, KeepUnderCap(snap.cap, tokens), absl::MakeSpan(kept));
    selected.push_back(KeptPositions(kept));
  }
  return selected;
}

TEST(SnapKvTest, WindowAndNeedleAreKeptInOrderAndShortPromptsWhole) {
  constexpr int32_t kDim = 16;
  constexpr int32_t kGroup = 2;
  for (const Pooling pooling : {Pooling::kAverage, Pooling::kMax}) {
    for (const bool before : {false, true}) {
      for (const int32_t tokens : {1, 7, 8, 9, 15, 16, 17, 100}) {
        const int32_t window = std::min(8, tokens);
        Floats q = Uniform(3, static_cast<size_t>(2 * kGroup * window * kDim));
        Floats k = Uniform(4, static_cast<size_t>(2 * tokens * kDim));
        const int32_t needle = tokens > 40 ? 37 : 0;
        // The needle's key is aligned with the last query of every head of its group.
        for (int32_t c = 0; c < kDim; ++c) {
          for (int32_t h = 0; h < 2; ++h) k[static_cast<size_t>((h * tokens + needle) * kDim + c)] = c == 5 ? 40.0f : 0;
          for (int32_t h = 0; h < 2 * kGroup; ++h) {
            q[static_cast<size_t>((h * window + window - 1) * kDim + c)] = c == 5 ? 1.0f : 0;
          }
        }
        for (const int32_t cap : {0, 1, 8, 9, 16, 200}) {
          const auto selected = SelectSnapKv({pooling, before, 8, cap}, q, k, kGroup, tokens, kDim);
          for (const auto& positions : selected) {
            EXPECT_TRUE(std::is_sorted(positions.begin(), positions.end()));
            EXPECT_EQ(static_cast<int32_t>(positions.size()), std::min(tokens, std::max(cap, window)));
            for (int32_t t = tokens - window; t < tokens; ++t) {
              EXPECT_TRUE(std::binary_search(positions.begin(), positions.end(), t));
            }
            // Max pooling gives neighbours the needle's score, and the lower ones win ties.
            if (cap >= 16) {
              EXPECT_TRUE(std::binary_search(positions.begin(), positions.end(), needle)) << tokens << " cap " << cap;
            }
          }
        }
      }
    }
  }
}

// Where the heads of a group disagree, the order of maximum pooling and group mean matters; average pooling commutes.
TEST(SnapKvTest, OrderOfPoolingAndGroupMattersForMaximaAlone) {
  const Floats scores = {4, 0, 0, 0, 4, 0};
  const auto before = [&](Pooling pooling) {
    Floats rows = Pooled(pooling, 3, {4, 0, 0});
    const Floats second = Pooled(pooling, 3, {0, 4, 0});
    rows.insert(rows.end(), second.begin(), second.end());
    return Reduced(GroupReduction::kMean, rows, 2, 3);
  };
  const auto after = [&](Pooling pooling) { return Pooled(pooling, 3, Reduced(GroupReduction::kMean, scores, 2, 3)); };
  EXPECT_THAT(before(Pooling::kMax), ElementsAre(4, 4, 2));
  EXPECT_THAT(after(Pooling::kMax), ElementsAre(2, 2, 2));
  for (size_t t = 0; t < 3; ++t) EXPECT_FLOAT_EQ(before(Pooling::kAverage)[t], after(Pooling::kAverage)[t]);
}

// Test (d): no key of a block beats its bound, whatever was done to the keys.
TEST(BlockBoundTest, HoldsForEveryKeyAlsoRotatedAndQuantised) {
  constexpr size_t kDim = 64;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    for (const int32_t tokens : {1, 2, 15, 16}) {
      for (const bool rotated : {false, true}) {
        for (const int32_t bits : {0, 2, 4, 8}) {
          Floats q = Uniform(seed, kDim);
          if (rotated) RotateHadamard(q.data(), kDim, 16);
          Floats low(kDim);
          Floats high(kDim);
          std::vector<Floats> keys;
          for (int32_t t = 0; t < tokens; ++t) {
            Floats key = Uniform(seed * 100 + static_cast<uint64_t>(t) + 7, kDim);
            key[5] += 3;
            if (rotated) RotateHadamard(key.data(), kDim, 16);
            if (bits > 0) {
              const auto [least, most] = std::minmax_element(key.begin(), key.end());
              const AffinePair pair = FitAffine(*least, *most, bits);
              const float scale = ToFloat(pair.scale);
              const float zero = ToFloat(pair.zero);
              for (float& x : key) x = AffineValue(AffineCode(x, zero, InverseScale(scale), bits), scale, zero);
            }
            WidenExtremes(key, t == 0, absl::MakeSpan(low), absl::MakeSpan(high));
            keys.push_back(key);
          }
          const float bound = BlockBound(q, low, high);
          for (const Floats& key : keys) {
            float dot = 0;
            for (size_t c = 0; c < kDim; ++c) dot += q[c] * key[c];
            EXPECT_LE(dot, bound);
          }
          if (tokens == 1) {
            float dot = 0;
            for (size_t c = 0; c < kDim; ++c) dot += q[c] * keys[0][c];
            EXPECT_EQ(bound, dot);
          }
        }
      }
    }
  }
}

TEST(BlockBoundTest, GroupTakesTheLargestOfItsHeads) {
  const Floats low = {-1, -2};
  const Floats high = {3, 1};
  EXPECT_EQ(BlockBound(Floats{1, 1}, low, high), 4);
  EXPECT_EQ(BlockBound(Floats{-2, -2}, low, high), 6);
  EXPECT_EQ(GroupBlockBound(Floats{1, 1, -2, -2}, low, high), 6);
  EXPECT_EQ(GroupBlockBound(Floats{-2, -2, 1, 1}, low, high), 6);
}

TEST(BlockChoiceTest, LastBlockIsAlwaysReadAndTiesGoToTheEarlier) {
  std::vector<uint8_t> chosen(5);
  const Floats bounds = {1, 7, 7, 3, -9};
  EXPECT_EQ(ChooseBlocks(bounds, 2, absl::MakeSpan(chosen)), 2);
  EXPECT_THAT(chosen, ElementsAre(0, 1, 0, 0, 1));
  EXPECT_EQ(ChooseBlocks(bounds, 4, absl::MakeSpan(chosen)), 4);
  EXPECT_THAT(chosen, ElementsAre(0, 1, 1, 1, 1));
  EXPECT_EQ(ChooseBlocks(bounds, 99, absl::MakeSpan(chosen)), 5);
  EXPECT_EQ(ChooseBlocks(bounds, 0, absl::MakeSpan(chosen)), 1);
  EXPECT_THAT(chosen, ElementsAre(0, 0, 0, 0, 1));
  EXPECT_EQ(ChooseBlocks({}, 3, {}), 0);
  EXPECT_EQ(QuestBlocks(512, 16), 32);
  EXPECT_EQ(QuestBlocks(16, 16), 3);
}

TEST(BlockChoiceTest, ReadFractionIsTheFormulaOfThePaper) {
  EXPECT_DOUBLE_EQ(QuestReadFraction(16, 32, 4096), 1.0 / 16 + 32 * 16 / 4096.0);
  EXPECT_DOUBLE_EQ(QuestReadFraction(16, 0, 1), 1.0 / 16);
}

}  // namespace
}  // namespace decant
