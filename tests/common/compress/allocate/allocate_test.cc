#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "common/base/random.h"
#include "common/compress/allocate/fast_kv.h"
#include "common/compress/allocate/global_threshold.h"
#include "common/compress/allocate/heavy_hitters.h"
#include "common/compress/allocate/keep.h"
#include "common/compress/allocate/prefix_profile.h"
#include "common/compress/allocate/pyramid.h"
#include "common/compress/allocate/streaming.h"
#include "common/compress/arith/rope_shift.h"
#include "common/compress/score/protect.h"

namespace decant {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using Floats = std::vector<float>;
using Marks = std::vector<uint8_t>;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

Floats Uniform(uint64_t seed, size_t count) {
  Floats values(count);
  for (size_t i = 0; i < count; ++i) values[i] = UniformFloat(seed, i);
  return values;
}

int64_t Total(const Marks& kept) { return std::accumulate(kept.begin(), kept.end(), int64_t{0}); }

TEST(KeepTest, TiesGoToTheLowerPositionAndNanRanksLast) {
  Marks kept(6);
  EXPECT_EQ(KeepBest(Floats{1, 3, 3, kNan, 3, 0}, 2, absl::MakeSpan(kept)), 2);
  EXPECT_THAT(kept, ElementsAre(0, 1, 1, 0, 0, 0));
  EXPECT_EQ(KeepBest(Floats{1, 3, 3, kNan, 3, 0}, 5, absl::MakeSpan(kept)), 5);
  EXPECT_THAT(kept, ElementsAre(1, 1, 1, 0, 1, 1));
  EXPECT_THAT(KeptPositions(kept), ElementsAre(0, 1, 2, 4, 5));
  EXPECT_EQ(ScoreAtRank(Floats{1, 3, kNan, 2}, 1), 2);
}

TEST(KeepTest, BudgetsOfNothingOneAndMoreThanAll) {
  for (const size_t tokens : std::vector<size_t>{0, 1, 5}) {
    Marks kept(tokens, 9);
    const Floats scores(tokens, 0.5f);
    EXPECT_EQ(KeepBest(scores, 0, absl::MakeSpan(kept)), 0);
    EXPECT_THAT(kept, Each(0));
    EXPECT_EQ(KeepBest(scores, -3, absl::MakeSpan(kept)), 0);
    EXPECT_EQ(KeepBest(scores, 1, absl::MakeSpan(kept)), std::min<int64_t>(1, static_cast<int64_t>(tokens)));
    EXPECT_EQ(KeepBest(scores, 99, absl::MakeSpan(kept)), static_cast<int64_t>(tokens));
    EXPECT_THAT(kept, Each(1));
  }
}

TEST(KeepTest, ProtectedTokensStayWhateverTheBudget) {
  Marks kept(5);
  EXPECT_EQ(KeepBest(Floats{9, kProtected, 1, kProtected, 8}, 1, absl::MakeSpan(kept)), 2);
  EXPECT_THAT(kept, ElementsAre(0, 1, 0, 1, 0));
  EXPECT_EQ(KeepBest(Floats{9, kProtected, 1, kProtected, 8}, 3, absl::MakeSpan(kept)), 3);
  EXPECT_THAT(kept, ElementsAre(1, 1, 0, 1, 0));
}

TEST(KeepTest, RowsAreRankedByThemselves) {
  Marks kept(6);
  EXPECT_EQ(KeepBestOfRows(Floats{1, 2, 3, 30, 20, 10}, 3, 1, absl::MakeSpan(kept)), 2);
  EXPECT_THAT(kept, ElementsAre(0, 0, 1, 1, 0, 0));
  EXPECT_EQ(KeepBestOfRows({}, 0, 1, {}), 0);
}

TEST(KeepTest, RatiosRoundDownAsTheReleasedCode) {
  EXPECT_EQ(KeepOfRatio(0.29, 100), 28);  // 0.29 * 100 is below 29 in double
  EXPECT_EQ(KeepOfRatio(0.5, 3), 1);
  EXPECT_EQ(KeepOfRatio(0, 100), 0);
  EXPECT_EQ(KeepOfRatio(-1, 100), 0);
  EXPECT_EQ(KeepOfRatio(std::nan(""), 100), 0);
  EXPECT_EQ(KeepOfRatio(2, 100), 100);
  EXPECT_EQ(KeepUnderCap(-1, 5), 0);
  EXPECT_EQ(KeepUnderCap(7, 5), 5);
}

// Test (a): the golden values of the released code.
TEST(PyramidTest, GoldenBudgetsGateAndOvershoot) {
  const auto small = PyramidLayers({128, 8, 20}, 32, 8000);
  EXPECT_EQ(small.front(), 234);
  EXPECT_EQ(small.back(), 17);
  for (size_t l = 1; l < small.size(); ++l) EXPECT_EQ(small[l - 1] - small[l], 7);
  EXPECT_DOUBLE_EQ(std::accumulate(small.begin(), small.end(), 0) / 32.0 + 8, 133.5);
  EXPECT_THAT(PyramidLayers({128, 8, 20}, 32, 239), Each(120));
  EXPECT_EQ(PyramidLayers({128, 8, 20}, 32, 240).front(), 232);  // the prompt is shorter than the pyramid's base

  const auto large = PyramidLayers({2048, 8, 20}, 32, 8000);
  EXPECT_EQ(large.front(), 3978);
  EXPECT_EQ(large.back(), 103);
  EXPECT_EQ(large[0] - large[1], 125);
  EXPECT_DOUBLE_EQ(std::accumulate(large.begin(), large.end(), 0) / 32.0 + 8, 2048.5);
  EXPECT_THAT(PyramidLayers({2048, 8, 20}, 32, 4000), Each(2040));
}

TEST(PyramidTest, ExactVariantSumsToTheBudgetAndFalls) {
  for (const int32_t layers : {1, 2, 3, 6, 30, 32}) {
    for (const int32_t cap : {9, 10, 64, 96, 128, 777, 2048}) {
      for (const int32_t tokens : {0, 1, 7, 8, 9, 63, 64, 128, 239, 240, 241, 300, 4079, 4080, 8000}) {
        SCOPED_TRACE(::testing::Message() << layers << " layers, cap " << cap << ", " << tokens << " tokens");
        const auto exact = PyramidLayersExact({cap, 8, 20}, layers, tokens);
        const auto released = PyramidLayers({cap, 8, 20}, layers, tokens);
        const int32_t past = std::max(tokens - 8, 0);
        const int64_t sum = std::accumulate(exact.begin(), exact.end(), int64_t{0});
        EXPECT_EQ(sum, int64_t{layers} * std::min(past, tokens < cap ? past : cap - 8));
        EXPECT_TRUE(std::is_sorted(exact.rbegin(), exact.rend()));
        for (size_t l = 0; l < exact.size(); ++l) {
          EXPECT_GE(exact[l], 0);
          EXPECT_LE(exact[l], past);
          EXPECT_LE(std::abs(exact[l] - released[l]), layers) << l;
          EXPECT_LE(released[l], past);
        }
      }
    }
  }
}

TEST(PyramidTest, CapBelowTheWindowKeepsTheWindowAlone) {
  EXPECT_THAT(PyramidLayers({4, 8, 20}, 3, 100), ElementsAre(0, 0, 0));
  EXPECT_THAT(PyramidLayersExact({0, 8, 20}, 3, 100), ElementsAre(0, 0, 0));
  EXPECT_THAT(PyramidLayers({4, 8, 20}, 2, 3), ElementsAre(0, 0));
}

// Test (f).
TEST(GlobalThresholdTest, KeepsWhatTheReleasedCodeKeepsAndTheExactVariantTheRatio) {
  constexpr int32_t kTokens = 100;
  constexpr size_t kAll = size_t{3} * 2 * kTokens;
  const Floats scores = Uniform(5, kAll);
  Marks kept(kAll);
  for (const double ratio : {0.0, 1e-9, 0.5 / kAll, 1.0 / kAll, 2.0 / kAll, 3.0 / kAll, 0.1, 0.3, 0.5, 0.999}) {
    const auto part = static_cast<int64_t>(ratio * static_cast<double>(kAll));
    EXPECT_EQ(KeepAboveThreshold(scores, ratio, absl::MakeSpan(kept)), std::max<int64_t>(part - 1, 0)) << ratio;
    EXPECT_EQ(Total(kept), std::max<int64_t>(part - 1, 0));
    EXPECT_EQ(KeepExactPart(scores, ratio, absl::MakeSpan(kept)), part) << ratio;
    EXPECT_EQ(Total(kept), part);
    // Per layer and head: those above the global threshold, by counting.
    if (part == 0) continue;
    Floats sorted = scores;
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    for (size_t i = 0; i < kAll; ++i) EXPECT_EQ(kept[i] != 0, scores[i] >= sorted[static_cast<size_t>(part - 1)]);
  }
  for (const double ratio : {1.0, 1.5}) {
    EXPECT_EQ(KeepAboveThreshold(scores, ratio, absl::MakeSpan(kept)), static_cast<int64_t>(kAll));
    EXPECT_THAT(kept, Each(1));
    EXPECT_EQ(KeepExactPart(scores, ratio, absl::MakeSpan(kept)), static_cast<int64_t>(kAll));
  }
}

TEST(GlobalThresholdTest, TiesAreDroppedByTheReleasedFormAndSharedOutByTheExactOne) {
  Floats scores(40, 0.25f);
  for (size_t i = 0; i < 5; ++i) scores[i * 7] = 1;
  Marks kept(40);
  EXPECT_EQ(KeepAboveThreshold(scores, 0.5, absl::MakeSpan(kept)), 5);
  EXPECT_EQ(KeepExactPart(scores, 0.5, absl::MakeSpan(kept)), 20);
  EXPECT_EQ(std::accumulate(kept.begin(), kept.begin() + 19, 0), 18);  // 3 of the best and the first 15 ties
  EXPECT_EQ(KeepAboveThreshold(Floats(40, 1.0f), 0.9, absl::MakeSpan(kept)), 0);
  EXPECT_THAT(kept, Each(0));
}

TEST(GlobalThresholdTest, ProtectedTokensAreKeptBesidesAndNotCounted) {
  Floats scores = Uniform(6, 50);
  for (size_t i = 40; i < 50; ++i) scores[i] = kProtected;
  Marks kept(50);
  EXPECT_EQ(KeepAboveThreshold(scores, 0.25, absl::MakeSpan(kept)), 9);
  EXPECT_EQ(Total(kept), 19);
  EXPECT_EQ(KeepExactPart(scores, 0.25, absl::MakeSpan(kept)), 10);
  EXPECT_EQ(Total(kept), 20);
  EXPECT_EQ(KeepExactPart(scores, 0, absl::MakeSpan(kept)), 0);
  EXPECT_THAT(Marks(kept.begin() + 40, kept.end()), Each(1));
  const Floats all(4, kProtected);
  Marks four(4);
  EXPECT_EQ(KeepAboveThreshold(all, 0, absl::MakeSpan(four)), 0);
  EXPECT_THAT(four, Each(1));
  EXPECT_EQ(KeepAboveThreshold({}, 0.5, {}), 0);
}

TEST(AcrossHeadsTest, EveryHeadKeepsItsSafePartAndTheLayerItsTotal) {
  constexpr int32_t kTokens = 200;
  Floats scores = Uniform(8, size_t{4} * kTokens);
  for (size_t i = 0; i < kTokens; ++i) scores[i] += 10;  // head 0 outranks all others
  Marks kept(scores.size());
  EXPECT_EQ(KeepAcrossHeads(scores, kTokens, 0.25, 0.2, absl::MakeSpan(kept)), 200);
  const auto head = [&](int32_t h) {
    return Total(Marks(kept.begin() + h * kTokens, kept.begin() + (h + 1) * kTokens));
  };
  EXPECT_EQ(head(0), 170);
  for (const int32_t h : {1, 2, 3}) EXPECT_EQ(head(h), 10);
  EXPECT_EQ(KeepAcrossHeads(scores, kTokens, 0.25, 1, absl::MakeSpan(kept)), 200);
  for (const int32_t h : {0, 1, 2, 3}) EXPECT_EQ(head(h), 50);
  EXPECT_EQ(KeepAcrossHeads(scores, kTokens, 0.25, 0, absl::MakeSpan(kept)), 200);
  EXPECT_EQ(head(0), 200);
  EXPECT_EQ(KeepAcrossHeads(scores, kTokens, 0, 0.2, absl::MakeSpan(kept)), 0);
  EXPECT_EQ(KeepAcrossHeads(scores, kTokens, 2, 0.2, absl::MakeSpan(kept)), 800);
  EXPECT_EQ(KeepAcrossHeads({}, 0, 0.5, 0.2, {}), 0);
}

// Test (g).
TEST(PrefixProfileTest, LengthsGrowWithTheMassAndTheTotalIsMet) {
  constexpr int32_t kTokens = 400;
  constexpr int32_t kLayers = 6;
  Floats scores(size_t{kLayers} * kTokens);
  // Layers from flat to steep.
  for (size_t l = 0; l < kLayers; ++l) {
    for (size_t t = 0; t < kTokens; ++t) {
      scores[l * kTokens + t] = std::pow(UniformFloat(l, t) + 1e-3f, static_cast<float>(l * l));
    }
  }
  const auto layer = [&](size_t l) { return absl::MakeConstSpan(scores).subspan(l * kTokens, kTokens); };
  for (size_t l = 0; l < kLayers; ++l) {
    int32_t previous = 0;
    for (double mass = 0; mass <= 1.0; mass += 0.01) {
      const int32_t length = PrefixLength(layer(l), mass);
      EXPECT_GE(length, previous);
      EXPECT_GE(length, 1);
      EXPECT_LE(length, kTokens);
      previous = length;
    }
  }
  PrefixSearch search;
  for (const double removed : {0.1, 0.2, 0.5, 0.8, 0.9}) {
    search.removed = removed;
    const PrefixProfile profile = SearchPrefixProfile(search, scores, kTokens);
    EXPECT_TRUE(profile.within_tolerance) << removed;
    ASSERT_EQ(profile.forget.size(), size_t{kLayers});
    double total = 0;
    for (size_t l = 0; l < kLayers; ++l) {
      EXPECT_LE(profile.forget[l] * kTokens, kTokens - 5 + 1e-9);
      total += profile.forget[l] * kTokens;
      // Before scaling every layer holds the same mass.
      const double expected = std::max(kTokens - PrefixLength(layer(l), profile.mass) - 5, 0);
      EXPECT_NEAR(profile.forget[l] * kTokens, expected, 6);
    }
    EXPECT_LE(total, removed * kLayers * kTokens + 1e-9);
    EXPECT_GT(total, removed * kLayers * kTokens - kLayers - 5);
    // A steep layer needs fewer tokens for the same mass, so it forgets more.
    EXPECT_GE(profile.forget[kLayers - 1], profile.forget[0]);
  }
}

TEST(PrefixProfileTest, SearchEndsWhereTiesJumpOverTheTolerance) {
  // All layers alike and all scores equal: every step of the mass moves all layers at once.
  PrefixSearch search;
  for (const double removed : {0.0, 0.003, 0.5, 0.997, 1.0}) {
    search.removed = removed;
    const PrefixProfile profile = SearchPrefixProfile(search, Floats(size_t{40} * 1000, 0.25f), 1000);
    EXPECT_LE(profile.steps, search.most_steps);
    const double total = std::accumulate(profile.forget.begin(), profile.forget.end(), 0.0) * 1000;
    EXPECT_LE(total, removed * 40000 + 1e-6);
    if (removed == 0.5) {
      EXPECT_NEAR(total, 20000, 45);
    }
  }
  // One token holds everything; and nothing was scored at all.
  Floats lone(600);
  lone[5] = lone[305] = 1;
  EXPECT_LE(SearchPrefixProfile(search, lone, 300).steps, 60);
  EXPECT_LE(SearchPrefixProfile(search, Floats(600), 300).steps, 60);
  EXPECT_LE(SearchPrefixProfile(search, Floats(600, kNan), 300).steps, 60);
  // Prompts no longer than what is protected forget nothing.
  for (const int32_t tokens : {1, 4, 5}) {
    for (const double forget : SearchPrefixProfile(search, Floats(static_cast<size_t>(tokens), 1.0f), tokens).forget) {
      EXPECT_EQ(forget, 0);
    }
  }
}

TEST(PrefixProfileTest, SelectionKeepsSinksAndTheLastAndForgetsTheLowest) {
  PrefixSearch search;
  search.start = 2;
  Marks kept(8);
  const Floats scores = {0, 0, 5, 1, 3, 1, 9, 0};
  EXPECT_EQ(KeepPrefix(search, scores, PrefixForget(0.25, 8), absl::MakeSpan(kept)), 6);
  EXPECT_THAT(kept, ElementsAre(1, 1, 1, 0, 1, 0, 1, 1));
  EXPECT_EQ(KeepPrefix(search, scores, 1, absl::MakeSpan(kept)), 7);
  EXPECT_THAT(kept, ElementsAre(1, 1, 1, 1, 1, 0, 1, 1));  // of equal scores the lower position stays
  EXPECT_EQ(KeepPrefix(search, scores, 8, absl::MakeSpan(kept)), 3);
  EXPECT_EQ(KeepPrefix(search, {}, 0, {}), 0);
  EXPECT_EQ(PrefixForget(0.5, 5), 2);  // 2.5 to even
  EXPECT_EQ(PrefixForget(0.5, 7), 4);
  EXPECT_EQ(PrefixForget(9, 7), 7);
}

// Test (l).
TEST(FastKvTest, LengthsAreClampedToTheWindowAndToWhatThereIs) {
  FastKvBudget budget;
  const auto lengths = [&](int32_t tokens) {
    const FastKvLengths l = FastKvLengthsOf(budget, tokens);
    return std::vector<int32_t>{l.lower, l.propagated, l.upper};
  };
  EXPECT_THAT(lengths(0), ElementsAre(0, 0, 0));
  EXPECT_THAT(lengths(511), ElementsAre(511, 511, 511));
  EXPECT_THAT(lengths(512), ElementsAre(512, 512, 512));
  EXPECT_THAT(lengths(2048), ElementsAre(512, 2048, 512));
  EXPECT_THAT(lengths(9000), ElementsAre(512, 2048, 512));
  budget.cap = 0;
  EXPECT_THAT(lengths(100), ElementsAre(8, 100, 8));
  budget.propagated = 3;
  EXPECT_THAT(lengths(100), ElementsAre(8, 8, 8));

  budget = FastKvBudget();
  budget.proportional = true;
  EXPECT_THAT(lengths(10000), ElementsAre(1000, 2000, 1000));
  EXPECT_THAT(lengths(0), ElementsAre(0, 0, 0));
  // N * retain <= window: the released code asks for a top-k of nothing.
  for (const int32_t tokens : {1, 7, 8, 9, 39, 79, 80}) {
    const auto some = lengths(tokens);
    EXPECT_EQ(some[0], std::min(tokens, 8)) << tokens;
    EXPECT_EQ(some[1], std::min(tokens, std::max(8, tokens / 5))) << tokens;
    EXPECT_EQ(some[2], std::min(tokens, 8)) << tokens;
  }
  budget.propagate = 0;
  EXPECT_THAT(lengths(1000), ElementsAre(100, 8, 8));
  budget.retain = 2;
  EXPECT_THAT(lengths(1000), ElementsAre(1000, 8, 8));
}

TEST(StreamingTest, SinksAndRecentAtEveryLength) {
  const StreamingBudget budget{4, 10};
  for (int32_t length = 0; length < 40; ++length) {
    for (const int32_t coming : {0, 1, 5, 10, 12}) {
      const StreamingRuns runs = StreamingKeep(budget, length, coming);
      EXPECT_LE(runs.first, runs.second);
      EXPECT_LE(runs.second, length);
      const int32_t kept = runs.first + length - runs.second;
      if (length + coming <= 14) {
        EXPECT_EQ(kept, length);
      } else {
        EXPECT_EQ(runs.first, std::min(4, length));
        EXPECT_EQ(runs.second, std::min(length, std::max(runs.first, length - 10 + coming)));
        if (coming <= 10) {
          EXPECT_EQ(kept + coming, 14);
        }
      }
    }
  }
}

// Test (n): keys moved to their places in the cache equal keys rotated for those places.
TEST(StreamingTest, MovedKeysEqualKeysRotatedAnew) {
  constexpr int32_t kDim = 64;
  Floats inverse(kDim / 2);
  for (size_t i = 0; i < inverse.size(); ++i) inverse[i] = std::pow(10000.0f, -2.0f * static_cast<float>(i) / kDim);
  const StreamingBudget budget{4, 16};
  for (const int32_t length : {19, 20, 21, 500, 4000}) {
    const StreamingRuns runs = StreamingKeep(budget, length, 0);
    for (int32_t t = 0; t < length; ++t) {
      if (t >= runs.first && t < runs.second) continue;
      const int32_t place = t < runs.first ? t : t - (runs.second - runs.first);
      const Floats plain = Uniform(static_cast<uint64_t>(t), kDim);
      Floats moved = plain;
      ShiftRope(moved.data(), kDim, inverse.data(), t);
      ShiftRope(moved.data(), kDim, inverse.data(), place - t);
      Floats anew = plain;
      ShiftRope(anew.data(), kDim, inverse.data(), place);
      for (size_t c = 0; c < kDim; ++c) EXPECT_NEAR(moved[c], anew[c], 2e-6f) << t << " of " << length;
    }
  }
}

// Test (m): against sums taken anew from the whole history at every step.
TEST(HeavyHittersTest, EqualsBruteForceOverALongDecode) {
  constexpr int32_t kPrompt = 37;
  constexpr int32_t kSteps = 400;
  for (const auto& [heavy, recent] :
       std::vector<std::pair<int32_t, int32_t>>{{8, 16}, {0, 5}, {5, 0}, {0, 0}, {100, 500}}) {
    HeavyHitters hitters(heavy, recent);
    std::vector<Floats> history;  // by pass, by token
    std::vector<int32_t> alive;
    for (int32_t step = 0; step <= kSteps; ++step) {
      const int32_t coming = step == 0 ? kPrompt : 1;
      const int32_t known = step == 0 ? 0 : kPrompt + step - 1;
      for (int32_t t = known; t < known + coming; ++t) alive.push_back(t);
      Floats columns;
      Floats pass(static_cast<size_t>(known + coming), 0.0f);
      for (const int32_t t : alive) {
        // Multiples of 1/8, so that sums are exact and ties happen.
        columns.push_back(static_cast<float>(MixBits(static_cast<uint64_t>(step), static_cast<uint64_t>(t)) % 32) / 8);
        pass[static_cast<size_t>(t)] = columns.back();
      }
      history.push_back(pass);
      hitters.Step(columns);

      if (static_cast<int32_t>(alive.size()) > heavy + recent) {
        const auto sum_of = [&](int32_t t) {
          float sum = 0;
          for (const Floats& row : history)
            sum += static_cast<size_t>(t) < row.size() ? row[static_cast<size_t>(t)] : 0.0f;
          return sum;
        };
        std::vector<int32_t> past(alive.begin(), alive.end() - recent);
        std::stable_sort(past.begin(), past.end(), [&](int32_t a, int32_t b) { return sum_of(a) > sum_of(b); });
        past.resize(static_cast<size_t>(heavy));
        std::sort(past.begin(), past.end());
        past.insert(past.end(), alive.end() - recent, alive.end());
        alive = past;
      }
      ASSERT_EQ(hitters.positions(), alive) << "step " << step << " heavy " << heavy << " recent " << recent;
    }
  }
}

}  // namespace
}  // namespace decant
