// Scores and tiers of a prompt's layer at the sizes of Llama-3-8B: 32 query heads, 8 kv heads.
#include <memory>
#include <vector>

#include "gpu/kernels/score/score_tokens.h"
#include "gpu/kernels/score/select_tiers.h"
#include "load_tests/kernels/device_data.h"
#include "load_tests/kernels/kernel_case.h"

namespace decant {
namespace {

constexpr int32_t kQHeads = 32;
constexpr int32_t kKvHeads = 8;
constexpr int32_t kChunk = 64;
constexpr int32_t kPrompt = 8192;

int64_t MinimumOf(int32_t tokens) {
  const int64_t sums = int64_t{4} * kQHeads * tokens;
  const int64_t scored = int64_t{4} * 2 * kKvHeads * tokens;  // scores and ranks are written, then read
  return sums + 2 * scored + int64_t{kKvHeads} * tokens + int64_t{12} * kKvHeads * tokens / kChunk;
}

// ScoreTokens and, by DiffKV's thresholds, SelectTiers.
KernelWork PrepareScore(Stream& stream, bool whole) {
  const int32_t tokens = whole ? kPrompt : 1024;
  auto data = std::make_shared<DeviceData>(stream);
  std::vector<float> sums(static_cast<size_t>(kQHeads) * static_cast<size_t>(tokens));
  for (size_t i = 0; i < sums.size(); ++i) sums[i] = UniformFloat(5, i);
  ScoreTokensArgs score;
  score.source = ScoreSource::kAllLaterQueries;
  score.reduce = GroupReduce::kMax;
  score.window = kChunk;
  score.sums = data->Upload(sums);
  score.stride = score.rows = score.tokens = tokens;
  score.q_heads = kQHeads;
  score.kv_heads = kKvHeads;
  score.scores = data->New<float>(int64_t{kKvHeads} * tokens);
  score.ranks = data->New<float>(int64_t{kKvHeads} * tokens);
  SelectTiersArgs select;
  select.scores = score.scores;
  select.ranks = score.ranks;
  select.kv_heads = kKvHeads;
  select.tokens = tokens;
  select.allocation = Allocation::kThresholdByPosition;
  select.source = score.source;
  select.alpha_high = 1.0f;
  select.alpha_low = 0.3f;
  select.chunk_tokens = kChunk;
  select.tiers = data->New<uint8_t>(int64_t{kKvHeads} * tokens);
  select.counts = data->New<int32_t>(int64_t{3} * kKvHeads * tokens / kChunk);
  KernelWork work;
  work.minimum_bytes = MinimumOf(tokens);
  work.enqueue = [&stream, score, select] {
    ScoreTokens(stream, score);
    SelectTiers(stream, select);
  };
  work.state = data;
  return work;
}

constexpr double kLaunch = 2e-6;  // a launch of a graph behind another begins after about 2 us

std::vector<KernelCase> ScoreCases() {
  return {{"score: scores and tiers, 8192 tokens of a layer", PrepareScore, MinimumOf(kPrompt), 0, 3 * kLaunch}};
}
const KernelCases kScore(&ScoreCases);

}  // namespace
}  // namespace decant
