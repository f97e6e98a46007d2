#include "gpu/kernels/score/select_tiers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "common/base/random.h"
#include "tests/support/test_device.h"

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

Selection Select(const Case& test, const std::vector<float>& sums, int32_t stride, int32_t chunk_tokens) {
  const auto device = CreateTestDevice(2);
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
  SelectTiersArgs args;
  args.sums = device_sums.As<float>();
  args.stride = stride;
  args.q_heads = kQHeads;
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
  if (mean < test.alpha_low / over) return 2;
  return mean < test.alpha_high / over ? 1 : 0;
}

TEST(SelectTiersTest, MatchesTheOracle) {
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

TEST(SelectTiersTest, SumsOfTilesGiveTheTiersOfTheWhole) {
  const Case test{true, 200, 0, 1.0f, 0.3f, 64};
  std::vector<float> whole(static_cast<size_t>(kQHeads * 200));
  AddTile(test, 0, 200, whole, 200);
  for (const int32_t tile : {1, 17, 64, 199}) {
    std::vector<float> tiled(whole.size());
    for (int32_t from = 0; from < 200; from += tile) AddTile(test, from, std::min(from + tile, 200), tiled, 200);
    EXPECT_EQ(Select(test, tiled, 200, 64).tiers, Select(test, whole, 200, 64).tiers);
  }
}

TEST(SelectTiersTest, ChunksOnlyCutTheCounts) {
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

}  // namespace
}  // namespace decant
