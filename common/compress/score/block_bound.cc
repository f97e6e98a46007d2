#include "common/compress/score/block_bound.h"

#include <algorithm>

#include "common/base/check.h"

namespace decant {

void WidenExtremes(absl::Span<const float> key, bool first, absl::Span<float> low, absl::Span<float> high) {
  DECANT_CHECK_MSG(low.size() == key.size() && high.size() == key.size(), "%zu channels into %zu and %zu", key.size(),
                   low.size(), high.size());
  for (size_t c = 0; c < key.size(); ++c) {
    low[c] = first ? key[c] : std::min(low[c], key[c]);
    high[c] = first ? key[c] : std::max(high[c], key[c]);
  }
}

float BlockBound(absl::Span<const float> q, absl::Span<const float> low, absl::Span<const float> high) {
  DECANT_CHECK_MSG(low.size() == q.size() && high.size() == q.size(), "%zu channels against %zu and %zu", q.size(),
                   low.size(), high.size());
  float bound = 0;
  for (size_t c = 0; c < q.size(); ++c) bound += std::max(q[c] * low[c], q[c] * high[c]);
  return bound;
}

float GroupBlockBound(absl::Span<const float> q, absl::Span<const float> low, absl::Span<const float> high) {
  DECANT_CHECK_MSG(!low.empty() && !q.empty() && q.size() % low.size() == 0, "%zu query channels in heads of %zu",
                   q.size(), low.size());
  float bound = BlockBound(q.subspan(0, low.size()), low, high);
  for (size_t at = low.size(); at < q.size(); at += low.size()) {
    bound = std::max(bound, BlockBound(q.subspan(at, low.size()), low, high));
  }
  return bound;
}

double QuestReadFraction(int32_t block, int64_t blocks_read, int64_t tokens) {
  return 1.0 / block + static_cast<double>(blocks_read) * block / static_cast<double>(tokens);
}

}  // namespace decant
