#include <algorithm>
#include <functional>
#include <limits>

#include "gpu/kernels/score/score_tokens_host.h"

namespace decant {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Rows of what is reduced: the query heads' sums, or the replay's maxima, which are one per kv head already.
struct Source {
  const float* rows = nullptr;
  int64_t stride = 0;
  int32_t first = 0;
  int32_t count = 0;
};

Source SourceOf(const ScoreTokensArgs& args, int32_t head) {
  Source source;
  const bool replay = args.source == ScoreSource::kReplay;
  const int32_t heads = replay ? args.kv_heads : args.q_heads;
  const bool whole_layer = args.reduce == GroupReduce::kLayerMean;
  source.rows = replay ? args.replay : args.sums;
  source.stride = replay ? args.rows : args.stride;
  source.count = whole_layer ? heads : heads / args.kv_heads;
  source.first = whole_layer ? 0 : head * source.count;
  return source;
}

int32_t PositionOf(const ScoreTokensArgs& args, int32_t row) {
  return args.positions == nullptr ? row : args.positions[row];
}

// Writes the score of every row to its position. A score stays at its token's index; the released DiffKV kernel indexed
// it by rank (defect D1).
void Reduce(const ScoreTokensArgs& args, const Source& source, float* scores) {
  for (int32_t row = 0; row < args.rows; ++row) {
    const float* from = source.rows + source.first * source.stride + row;
    float score = *from;
    for (int32_t head = 1; head < source.count; ++head) {
      const float next = from[head * source.stride];
      score = args.reduce == GroupReduce::kMax ? std::max(score, next) : score + next;
    }
    const bool mean = args.reduce == GroupReduce::kMean || args.reduce == GroupReduce::kLayerMean;
    scores[PositionOf(args, row)] = mean ? score / static_cast<float>(source.count) : score;
  }
}

float Pooled(const ScoreTokensArgs& args, const float* scores, int32_t row, int32_t first, int32_t end) {
  const int32_t reach = args.pooling == Pooling::kNone ? 0 : args.pool_width / 2;
  const int32_t from = std::max(row - reach, first);
  const int32_t last = std::min(row + reach, end - 1);
  float pooled = scores[PositionOf(args, from)];
  for (int32_t i = from + 1; i <= last; ++i) {
    const float score = scores[PositionOf(args, i)];
    pooled = args.pooling == Pooling::kAverage ? pooled + score : std::max(pooled, score);
  }
  return args.pooling == Pooling::kAverage ? pooled / static_cast<float>(args.pool_width) : pooled;
}

void ScoreHead(const ScoreTokensArgs& args, int32_t head) {
  float* const scores = args.scores + int64_t{head} * args.tokens;
  float* const ranks = args.ranks + int64_t{head} * args.tokens;
  std::fill_n(scores, args.tokens, 0.0f);
  std::fill_n(ranks, args.tokens, -kInfinity);
  const Source source = SourceOf(args, head);
  if (source.rows != nullptr) Reduce(args, source, scores);
  // The candidates are the rows from `first` to `end`.
  const int32_t window_begin = args.tokens - std::min(args.window, args.tokens);
  int32_t first = 0;
  while (first < args.rows && PositionOf(args, first) < std::min(args.sinks, window_begin)) ++first;
  int32_t end = args.rows;
  while (end > first && PositionOf(args, end - 1) >= window_begin) --end;
  for (int32_t row = 0; row < args.rows; ++row) {
    const int32_t position = PositionOf(args, row);
    float rank = kInfinity;
    if (row >= first && row < end) {
      rank =
          args.source == ScoreSource::kPosition ? static_cast<float>(position) : Pooled(args, scores, row, first, end);
      if (!(rank == rank)) rank = std::numeric_limits<float>::lowest();
    }
    ranks[position] = rank;
  }
}

}  // namespace

void ScoreTokensHost(Stream& stream, const ScoreTokensArgs& args) {
  const HostAccess access(stream);
  const auto score = [&args](int64_t head, int) { ScoreHead(args, static_cast<int32_t>(head)); };
  stream.device().ParallelFor(args.kv_heads, std::cref(score));
}

}  // namespace decant
