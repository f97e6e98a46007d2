#include "common/compress/allocate/global_threshold.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "common/base/check.h"
#include "common/compress/allocate/keep.h"

namespace decant {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

int64_t CountProtected(absl::Span<const float> scores) { return std::count(scores.begin(), scores.end(), kInfinity); }

}  // namespace

int64_t KeepAboveThreshold(absl::Span<const float> scores, double ratio, absl::Span<uint8_t> kept) {
  DECANT_CHECK_MSG(kept.size() == scores.size(), "%zu scores, %zu marks", scores.size(), kept.size());
  const int64_t shielded = CountProtected(scores);
  const auto candidates = static_cast<int64_t>(scores.size()) - shielded;
  if (ratio >= 1 || candidates == 0) {
    std::fill(kept.begin(), kept.end(), uint8_t{1});
    return candidates;
  }
  const int64_t rank = std::max<int64_t>(KeepOfRatio(ratio, candidates) - 1, 0);
  const float threshold = ScoreAtRank(scores, shielded + rank);
  int64_t above = 0;
  for (size_t i = 0; i < scores.size(); ++i) {
    kept[i] = scores[i] > threshold ? 1 : 0;
    above += kept[i];
  }
  return above - shielded;
}

int64_t KeepExactPart(absl::Span<const float> scores, double ratio, absl::Span<uint8_t> kept) {
  const int64_t shielded = CountProtected(scores);
  const int64_t part = KeepOfRatio(ratio, static_cast<int64_t>(scores.size()) - shielded);
  return KeepBest(scores, shielded + part, kept) - shielded;
}

int64_t KeepAcrossHeads(absl::Span<const float> scores, int32_t tokens, double ratio, double safeguard,
                        absl::Span<uint8_t> kept) {
  DECANT_CHECK_MSG(kept.size() == scores.size() &&
                       (scores.empty() || (tokens > 0 && scores.size() % static_cast<size_t>(tokens) == 0)),
                   "%zu scores, %zu marks, heads of %d", scores.size(), kept.size(), tokens);
  if (scores.empty()) return 0;
  const int64_t per_head = KeepOfRatio(ratio, tokens);
  const auto heads = static_cast<int64_t>(scores.size()) / tokens;
  KeepBestOfRows(scores, tokens, KeepOfRatio(safeguard, per_head), kept);
  std::vector<float> safe(scores.begin(), scores.end());
  for (size_t i = 0; i < safe.size(); ++i) {
    if (kept[i] != 0) safe[i] = kInfinity;
  }
  return KeepBest(safe, heads * per_head, kept);
}

}  // namespace decant
