#include "common/compress/allocate/keep.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "common/base/check.h"

namespace decant {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

float Ranked(float score) { return score == score ? score : -kInfinity; }

// Indices of all scores, the best `count` first.
std::vector<int64_t> BestFirst(absl::Span<const float> scores, int64_t count) {
  std::vector<int64_t> order(scores.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  const auto better = [&](int64_t a, int64_t b) {
    const float left = Ranked(scores[static_cast<size_t>(a)]);
    const float right = Ranked(scores[static_cast<size_t>(b)]);
    return left != right ? left > right : a < b;
  };
  if (count < static_cast<int64_t>(order.size()))
    std::nth_element(order.begin(), order.begin() + count, order.end(), better);
  return order;
}

}  // namespace

int64_t KeepBest(absl::Span<const float> scores, int64_t count, absl::Span<uint8_t> kept) {
  DECANT_CHECK_MSG(kept.size() == scores.size(), "%zu scores, %zu marks", scores.size(), kept.size());
  const auto all = static_cast<int64_t>(scores.size());
  const int64_t least = std::count(scores.begin(), scores.end(), kInfinity);
  const int64_t wanted = std::min(std::max(count, least), all);
  std::fill(kept.begin(), kept.end(), uint8_t{0});
  const std::vector<int64_t> order = BestFirst(scores, wanted);
  for (int64_t i = 0; i < wanted; ++i) kept[static_cast<size_t>(order[static_cast<size_t>(i)])] = 1;
  return wanted;
}

int64_t KeepBestOfRows(absl::Span<const float> scores, int32_t tokens, int64_t count, absl::Span<uint8_t> kept) {
  DECANT_CHECK_MSG(kept.size() == scores.size() &&
                       (scores.empty() || (tokens > 0 && scores.size() % static_cast<size_t>(tokens) == 0)),
                   "%zu scores, %zu marks, rows of %d", scores.size(), kept.size(), tokens);
  const auto row = static_cast<size_t>(tokens);
  int64_t total = 0;
  for (size_t at = 0; at < scores.size(); at += row)
    total += KeepBest(scores.subspan(at, row), count, kept.subspan(at, row));
  return total;
}

std::vector<int32_t> KeptPositions(absl::Span<const uint8_t> kept) {
  std::vector<int32_t> positions;
  for (size_t t = 0; t < kept.size(); ++t) {
    if (kept[t] != 0) positions.push_back(static_cast<int32_t>(t));
  }
  return positions;
}

int32_t KeepUnderCap(int32_t cap, int32_t tokens) { return std::min(std::max(cap, 0), tokens); }

int64_t KeepOfRatio(double ratio, int64_t tokens) {
  if (!(ratio > 0)) return 0;
  return ratio >= 1 ? tokens : static_cast<int64_t>(ratio * static_cast<double>(tokens));
}

float ScoreAtRank(absl::Span<const float> scores, int64_t rank) {
  DECANT_CHECK_MSG(rank >= 0 && rank < static_cast<int64_t>(scores.size()), "rank %lld of %zu",
                   static_cast<long long>(rank), scores.size());
  return Ranked(scores[static_cast<size_t>(BestFirst(scores, rank)[static_cast<size_t>(rank)])]);
}

}  // namespace decant
