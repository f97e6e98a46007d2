#include "gpu/kernels/score/select_tiers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "common/base/random.h"
#include "common/compress/allocate/keep.h"
#include "gpu/kernels/score/score_tokens.h"
#include "tests/support/device_array.h"
#include "tests/support/kernel_devices.h"

namespace decant {
namespace {

struct Case {
  bool paper;
  int32_t tokens;
  int32_t first_query;
  float alpha_high;
  float alpha_low;
  int32_t window;
};

// A causal attention matrix that says which tokens matter: [q_heads][queries][keys], rows sum to about 1.
float Attention(int32_t head, int32_t query, int32_t key) {
  const float popular = UniformFloat(static_cast<uint64_t>(head), static_cast<uint64_t>(key));
  const float noise = UniformFloat(static_cast<uint64_t>(head) + 50, static_cast<uint64_t>(query * 1000 + key));
  return popular * popular * popular * noise * 8.0f / static_cast<float>(query + 1);
}

constexpr int32_t kQHeads = 6;
constexpr int32_t kKvHeads = 2;
constexpr int32_t kGroup = 3;

// Sums over the queries [from, to), as prefill attention adds them up.
void AddTile(const Case& test, int32_t from, int32_t to, std::vector<float>& sums, int32_t stride) {
  for (int32_t head = 0; head < kQHeads; ++head) {
    for (int32_t query = std::max(from, test.first_query); query < to; ++query) {
      for (int32_t key = 0; key <= query; ++key) {
        if (test.paper && key == query) continue;
        sums[static_cast<size_t>(head * stride + key)] += Attention(head, query, key);
      }
    }
  }
}

struct Selection {
  std::vector<float> scores;
  std::vector<uint8_t> tiers;
  std::vector<int32_t> counts;
};

Selection SelectOn(const KernelDevice& kernel_device, const Case& test, const std::vector<float>& sums, int32_t stride,
                   int32_t chunk_tokens) {
  const auto device = kernel_device.create(int64_t{64} << 20);
  const auto stream = device->NewStream();
  const int32_t chunks = (test.tokens + chunk_tokens - 1) / chunk_tokens;
  Selection selection;
  selection.scores.resize(static_cast<size_t>(kKvHeads * test.tokens));
  selection.tiers.resize(selection.scores.size());
  selection.counts.resize(static_cast<size_t>(kKvHeads * chunks * 3));
  const Buffer device_sums = *device->Allocate(static_cast<int64_t>(sums.size()) * 4);
  const Buffer scores = *device->Allocate(static_cast<int64_t>(selection.scores.size()) * 4);
  const Buffer tiers = *device->Allocate(static_cast<int64_t>(selection.tiers.size()));
  const Buffer counts = *device->Allocate(static_cast<int64_t>(selection.counts.size()) * 4);
  stream->Copy(device_sums.As<float>(), sums.data(), device_sums.bytes());
  const Buffer ranks = *device->Allocate(scores.bytes());
  ScoreTokensArgs score;
  score.source = test.paper ? ScoreSource::kAllLaterQueries : ScoreSource::kLastWindow;
  score.sums = device_sums.As<float>();
  score.stride = stride;
  score.q_heads = kQHeads;
  score.kv_heads = kKvHeads;
  score.rows = test.tokens;
  score.tokens = test.tokens;
  score.scores = scores.As<float>();
  score.ranks = ranks.As<float>();
  ScoreTokens(*stream, score);
  SelectTiersArgs args;
  args.ranks = ranks.As<float>();
  args.kv_heads = kKvHeads;
  args.tokens = test.tokens;
  args.first_query = test.first_query;
  args.allocation = test.paper ? Allocation::kThresholdByPosition : Allocation::kThresholdByLength;
  args.source = test.paper ? ScoreSource::kAllLaterQueries : ScoreSource::kLastWindow;
  args.alpha_high = test.alpha_high;
  args.alpha_low = test.alpha_low;
  args.window = test.window;
  args.chunk_tokens = chunk_tokens;
  args.scores = scores.As<float>();
  args.tiers = tiers.As<uint8_t>();
  args.counts = counts.As<int32_t>();
  SelectTiers(*stream, args);
  stream->Copy(selection.scores.data(), scores.As<float>(), scores.bytes());
  stream->Copy(selection.tiers.data(), tiers.As<uint8_t>(), tiers.bytes());
  stream->Copy(selection.counts.data(), counts.As<int32_t>(), counts.bytes());
  return selection;
}

class SelectTiersTest : public ::testing::TestWithParam<KernelDevice> {
 protected:
  static Selection Select(const Case& test, const std::vector<float>& sums, int32_t stride, int32_t chunk_tokens) {
    return SelectOn(GetParam(), test, sums, stride, chunk_tokens);
  }
};
DECANT_ON_KERNEL_DEVICES(SelectTiersTest);

// The prompt phase from the text: paper section 4, and the release's kernel as the reference describes it. Tokens count
// from 1 in both, N is the prompt.
int OracleTier(const Case& test, int32_t kv_head, int32_t i, const std::vector<float>& sums, int32_t stride) {
  const int n = test.tokens;
  float sum = 0;
  for (int32_t g = 0; g < kGroup; ++g) {
    sum = std::max(sum, sums[static_cast<size_t>((kv_head * kGroup + g) * stride + i - 1)]);
  }
  if (n - i < test.window) return 0;  // one of the last W
  int seen = 0;
  int later = 0;
  for (int t = test.first_query + 1; t <= n; ++t) {
    seen += t >= i ? 1 : 0;
    later += t > i ? 1 : 0;
  }
  if (seen < test.window) return 0;
  const float mean = sum / static_cast<float>(test.paper ? later : seen);
  const auto over = static_cast<float>(test.paper ? i : n);
  const bool half_of_them = !test.paper || 2 * later >= n - i;
  if (mean < test.alpha_low / over && half_of_them) return 2;
  return mean < test.alpha_high / over ? 1 : 0;
}

TEST_P(SelectTiersTest, MatchesTheOracle) {
  const Case cases[] = {
      {true, 300, 0, 1.0f, 0.3f, 64},   {true, 300, 100, 1.0f, 0.3f, 64},  {true, 65, 0, 1.0f, 0.3f, 64},
      {true, 64, 0, 3.0f, 3.0f, 64},    {true, 1, 0, 3.0f, 3.0f, 64},      {true, 40, 0, 1.0f, 0.2f, 8},
      {true, 300, 250, 3.0f, 1.0f, 64}, {false, 300, 236, 1.0f, 0.3f, 64}, {false, 128, 64, 0.5f, 0.5f, 64},
      {false, 65, 1, 1.0f, 0.3f, 64},   {false, 30, 0, 2.0f, 1.0f, 64},    {false, 200, 192, 40.0f, 20.0f, 8},
  };
  for (const Case& test : cases) {
    const int32_t stride = test.tokens + 3;
    std::vector<float> sums(static_cast<size_t>(kQHeads * stride));
    AddTile(test, 0, test.tokens, sums, stride);
    const Selection selection = Select(test, sums, stride, 64);
    int tiers_seen[3] = {0, 0, 0};
    for (int32_t head = 0; head < kKvHeads; ++head) {
      std::vector<int32_t> counts(static_cast<size_t>((test.tokens + 63) / 64 * 3));
      for (int32_t t = 0; t < test.tokens; ++t) {
        const auto index = static_cast<size_t>(head * test.tokens + t);
        ASSERT_EQ(selection.tiers[index], OracleTier(test, head, t + 1, sums, stride)) << test.tokens << " " << t;
        float most = 0;
        for (int32_t g = 0; g < kGroup; ++g) {
          most = std::max(most, sums[static_cast<size_t>((head * kGroup + g) * stride + t)]);
        }
        EXPECT_EQ(selection.scores[index], most);
        ++counts[static_cast<size_t>(t / 64 * 3 + selection.tiers[index])];
        ++tiers_seen[selection.tiers[index]];
      }
      for (size_t i = 0; i < counts.size(); ++i) {
        EXPECT_EQ(selection.counts[static_cast<size_t>(head) * counts.size() + i], counts[i]);
      }
    }
    if (test.tokens == 300 && test.first_query != 250) {
      for (const int seen : tiers_seen) EXPECT_GT(seen, 10);
    }
  }
}

TEST_P(SelectTiersTest, SumsOfTilesGiveTheTiersOfTheWhole) {
  const Case test{true, 200, 0, 1.0f, 0.3f, 64};
  std::vector<float> whole(static_cast<size_t>(kQHeads * 200));
  AddTile(test, 0, 200, whole, 200);
  for (const int32_t tile : {1, 17, 64, 199}) {
    std::vector<float> tiled(whole.size());
    for (int32_t from = 0; from < 200; from += tile) AddTile(test, from, std::min(from + tile, 200), tiled, 200);
    EXPECT_EQ(Select(test, tiled, 200, 64).tiers, Select(test, whole, 200, 64).tiers);
  }
}

TEST_P(SelectTiersTest, ChunksOnlyCutTheCounts) {
  const Case test{true, 130, 0, 1.0f, 0.3f, 16};
  std::vector<float> sums(static_cast<size_t>(kQHeads * 130));
  AddTile(test, 0, 130, sums, 130);
  const Selection coarse = Select(test, sums, 130, 130);
  for (const int32_t chunk : {1, 63, 64, 65, 129}) {
    const Selection fine = Select(test, sums, 130, chunk);
    EXPECT_EQ(fine.tiers, coarse.tiers);
    for (int32_t tier = 0; tier < 3; ++tier) {
      int32_t total = 0;
      for (size_t c = static_cast<size_t>(tier); c < fine.counts.size() / 2; c += 3) total += fine.counts[c];
      EXPECT_EQ(total, coarse.counts[static_cast<size_t>(tier)]);
    }
  }
}

// Ranks with many ties, some protected and some absent ones.
std::vector<float> Ranks(int64_t count, uint64_t seed) {
  std::vector<float> ranks(static_cast<size_t>(count));
  for (size_t i = 0; i < ranks.size(); ++i) {
    const float draw = UniformFloat(seed, i);
    ranks[i] = draw < 0.1f    ? -std::numeric_limits<float>::infinity()
               : draw < 0.15f ? std::numeric_limits<float>::infinity()
                              : static_cast<float>(static_cast<int>(draw * 20));
  }
  return ranks;
}

class RankingTest : public ::testing::TestWithParam<KernelDevice> {
 protected:
  std::vector<uint8_t> Tiers(Allocation allocation, int32_t layers, int32_t tokens, const std::vector<float>& ranks,
                             int64_t high, int64_t kept) {
    const DeviceArray<float> device_ranks(*stream_, ranks);
    const DeviceArray<float> scratch(*stream_, ranks.size());
    const DeviceArray<uint8_t> tiers(*stream_, std::vector<uint8_t>(ranks.size(), 9));
    const int32_t chunks = (tokens + 15) / 16;
    const DeviceArray<int32_t> counts(*stream_, static_cast<size_t>(layers * kKvHeads * chunks * 3));
    SelectTiersArgs args;
    args.scores = device_ranks.data();
    args.ranks = device_ranks.data();
    args.layers = layers;
    args.kv_heads = kKvHeads;
    args.tokens = tokens;
    args.allocation = allocation;
    args.high = high;
    args.kept = kept;
    args.scratch = scratch.data();
    args.chunk_tokens = 16;
    args.tiers = tiers.data();
    args.counts = counts.data();
    SelectTiers(*stream_, args);
    const std::vector<uint8_t> found = tiers.Read();
    std::vector<int32_t> counted(static_cast<size_t>(layers * kKvHeads * chunks * 3));
    for (size_t i = 0; i < found.size(); ++i) {
      const size_t row = i / static_cast<size_t>(tokens);
      const size_t chunk = i % static_cast<size_t>(tokens) / 16;
      ++counted[(row * static_cast<size_t>(chunks) + chunk) * 3 + found[i]];
    }
    EXPECT_EQ(counts.Read(), counted);
    return found;
  }

  // What KeepBest marks, without the absent ones.
  static std::vector<uint8_t> Kept(absl::Span<const float> ranks, int64_t count) {
    std::vector<uint8_t> kept(ranks.size());
    KeepBest(ranks, count, absl::MakeSpan(kept));
    for (size_t i = 0; i < ranks.size(); ++i) {
      if (ranks[i] == -std::numeric_limits<float>::infinity()) kept[i] = 0;
    }
    return kept;
  }

  const std::unique_ptr<Device> device_ = GetParam().create(int64_t{64} << 20);
  const std::unique_ptr<Stream> stream_ = device_->NewStream();
};
DECANT_ON_KERNEL_DEVICES(RankingTest);

TEST_P(RankingTest, EveryHeadKeepsItsBest) {
  for (const int32_t tokens : {1, 2, 15, 16, 17, 100}) {
    const std::vector<float> ranks = Ranks(int64_t{kKvHeads} * tokens, static_cast<uint64_t>(tokens));
    for (const int64_t budget : {0, 1, 7, 50, 99, 100, 1000}) {
      if (!GetParam().large_cases && (budget == 50 || budget == 99)) continue;
      for (const Allocation allocation :
           {Allocation::kTop, Allocation::kPyramid, Allocation::kLayerShares, Allocation::kSinksAndRecent}) {
        // The kernel knows one ranking by row, whatever it is called.
        if (GetParam().shorter > 1 && allocation != Allocation::kTop && budget != 7) continue;
        const std::vector<uint8_t> tiers = Tiers(allocation, 1, tokens, ranks, budget, budget);
        for (int32_t head = 0; head < kKvHeads; ++head) {
          const auto first = static_cast<size_t>(head * tokens);
          const auto kept = Kept(absl::MakeConstSpan(ranks).subspan(first, static_cast<size_t>(tokens)), budget);
          for (size_t t = 0; t < kept.size(); ++t) {
            ASSERT_EQ(tiers[first + t], kept[t] == 1 ? 0 : 2) << tokens << " tokens, budget " << budget << ", " << t;
          }
        }
      }
    }
  }
}

TEST_P(RankingTest, WithALowTierNothingButTheAbsentIsPruned) {
  const std::vector<float> ranks = Ranks(int64_t{kKvHeads} * 90, 3);
  const std::vector<uint8_t> tiers = Tiers(Allocation::kTop, 1, 90, ranks, 30, kAllTokens);
  for (int32_t head = 0; head < kKvHeads; ++head) {
    const auto high = Kept(absl::MakeConstSpan(ranks).subspan(static_cast<size_t>(head) * 90, 90), 30);
    for (size_t t = 0; t < 90; ++t) {
      const size_t i = static_cast<size_t>(head) * 90 + t;
      const bool absent = ranks[i] == -std::numeric_limits<float>::infinity();
      ASSERT_EQ(tiers[i], absent ? 2 : high[t] == 1 ? 0 : 1);
    }
  }
}

TEST_P(RankingTest, OneThresholdOverAllLayersIsExact) {
  constexpr int32_t kLayers = 5;
  constexpr int32_t kTokens = 41;
  const std::vector<float> ranks = Ranks(int64_t{kLayers} * kKvHeads * kTokens, 11);
  const auto all = static_cast<int64_t>(ranks.size());
  for (const int64_t budget : {int64_t{0}, int64_t{1}, all / 3, all / 2, all}) {
    const std::vector<uint8_t> tiers = Tiers(Allocation::kGlobal, kLayers, kTokens, ranks, budget, budget);
    const std::vector<uint8_t> kept = Kept(ranks, budget);
    for (size_t i = 0; i < ranks.size(); ++i) ASSERT_EQ(tiers[i], kept[i] == 1 ? 0 : 2) << budget << " at " << i;
  }
  // A head may end up with nothing.
  std::vector<float> lopsided(ranks.size(), 1.0f);
  std::fill(lopsided.begin(), lopsided.begin() + kTokens, 0.0f);
  const auto budget = static_cast<int64_t>(lopsided.size()) - kTokens;
  const std::vector<uint8_t> tiers = Tiers(Allocation::kGlobal, kLayers, kTokens, lopsided, budget, budget);
  EXPECT_EQ(std::count(tiers.begin(), tiers.begin() + kTokens, 2), kTokens);
  EXPECT_EQ(std::count(tiers.begin(), tiers.end(), 0), budget);
}

// So many that blocks share the work: the same ranking, digit by digit, and ties that cross from part to part.
TEST_P(RankingTest, ManyBlocksRankAsOne) {
  if (!GetParam().large_cases) return;
  constexpr int32_t kLayers = 5;
  constexpr int32_t kTokens = 6561;
  std::vector<float> ranks = Ranks(int64_t{kLayers} * kKvHeads * kTokens, 23);
  ranks[0] = -0.0f;
  const auto all = static_cast<int64_t>(ranks.size());
  ASSERT_GT(all, 1 << 16);
  const std::pair<int64_t, int64_t> cuts[] = {{0, 0}, {7, all / 3}, {all / 4, all / 2}, {all, all}};
  for (const auto& [high, kept] : cuts) {
    const std::vector<uint8_t> tiers = Tiers(Allocation::kGlobalTiers, kLayers, kTokens, ranks, high, kept);
    const std::vector<uint8_t> best = Kept(ranks, high);
    const std::vector<uint8_t> held = Kept(ranks, kept);
    for (size_t i = 0; i < ranks.size(); ++i) {
      ASSERT_EQ(tiers[i], best[i] == 1 ? 0 : held[i] == 1 ? 1 : 2) << high << ", " << kept << " at " << i;
    }
  }
}

TEST_P(RankingTest, OneRankingCutTwice) {
  constexpr int32_t kLayers = 3;
  const std::vector<float> ranks = Ranks(int64_t{kLayers} * kKvHeads * 70, 17);
  for (const int64_t high : {0, 1, 60, 150, 200}) {
    const std::vector<uint8_t> tiers = Tiers(Allocation::kGlobalTiers, kLayers, 70, ranks, high, 200);
    const std::vector<uint8_t> best = Kept(ranks, high);
    const std::vector<uint8_t> kept = Kept(ranks, 200);
    for (size_t i = 0; i < ranks.size(); ++i) {
      ASSERT_EQ(tiers[i], best[i] == 1 ? 0 : kept[i] == 1 ? 1 : 2) << high << " at " << i;
    }
  }
}

TEST_P(RankingTest, EveryHeadCutTwiceByItself) {
  constexpr int32_t kTokens = 70;
  const std::vector<float> ranks = Ranks(int64_t{kKvHeads} * kTokens, 19);
  for (const int64_t high : {0, 1, 20, 40}) {
    const std::vector<uint8_t> tiers = Tiers(Allocation::kTopTiers, 1, kTokens, ranks, high, 40);
    for (int32_t head = 0; head < kKvHeads; ++head) {
      const auto row = absl::MakeConstSpan(ranks).subspan(static_cast<size_t>(head) * kTokens, kTokens);
      const std::vector<uint8_t> best = Kept(row, high);
      const std::vector<uint8_t> kept = Kept(row, 40);
      for (size_t t = 0; t < kTokens; ++t) {
        ASSERT_EQ(tiers[static_cast<size_t>(head) * kTokens + t], best[t] == 1 ? 0 : kept[t] == 1 ? 1 : 2) << high;
      }
    }
  }
}

}  // namespace
}  // namespace decant
