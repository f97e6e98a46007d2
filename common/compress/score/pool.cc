#include "common/compress/score/pool.h"

#include <algorithm>

#include "common/base/check.h"

namespace decant {

void PoolScores(Pooling pooling, int32_t kernel, absl::Span<const float> row, absl::Span<float> out) {
  DECANT_CHECK_MSG(kernel > 0 && kernel % 2 == 1 && out.size() == row.size(), "kernel %d, %zu scores to %zu", kernel,
                   row.size(), out.size());
  const auto tokens = static_cast<int64_t>(row.size());
  const int64_t reach = pooling == Pooling::kNone ? 0 : kernel / 2;
  for (int64_t t = 0; t < tokens; ++t) {
    const int64_t first = std::max<int64_t>(t - reach, 0);
    const int64_t last = std::min(t + reach, tokens - 1);
    float pooled = row[static_cast<size_t>(first)];
    for (int64_t i = first + 1; i <= last; ++i) {
      const float score = row[static_cast<size_t>(i)];
      pooled = pooling == Pooling::kAverage ? pooled + score : std::max(pooled, score);
    }
    out[static_cast<size_t>(t)] = pooling == Pooling::kAverage ? pooled / static_cast<float>(kernel) : pooled;
  }
}

}  // namespace decant
