#include "common/compress/score/window_attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/base/check.h"

namespace decant {

void WindowAttention(QueryReduction reduction, absl::Span<const float> q, absl::Span<const float> k, int32_t head_dim,
                     float scale, absl::Span<float> out) {
  const auto dim = static_cast<size_t>(head_dim);
  const size_t tokens = out.size();
  DECANT_CHECK_MSG(head_dim > 0 && q.size() % dim == 0 && k.size() == tokens * dim && q.size() <= k.size(),
                   "q of %zu, k of %zu, head_dim %d, %zu tokens", q.size(), k.size(), head_dim, tokens);
  const size_t queries = q.size() / dim;
  std::fill(out.begin(), out.end(), 0.0f);
  std::vector<float> row(tokens);
  for (size_t i = 0; i < queries; ++i) {
    const size_t seen = tokens - queries + i + 1;
    float largest = -INFINITY;
    for (size_t t = 0; t < seen; ++t) {
      float dot = 0;
      for (size_t c = 0; c < dim; ++c) dot += q[i * dim + c] * k[t * dim + c];
      row[t] = dot * scale;
      largest = std::max(largest, row[t]);
    }
    float sum = 0;
    for (size_t t = 0; t < seen; ++t) sum += row[t] = std::exp(row[t] - largest);
    for (size_t t = 0; t < seen; ++t) {
      const float attention = row[t] / sum;
      out[t] = reduction == QueryReduction::kSum ? out[t] + attention : std::max(out[t], attention);
    }
  }
}

}  // namespace decant
