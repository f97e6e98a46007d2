#include "common/model/log_probabilities.h"

#include <algorithm>
#include <cmath>

namespace decant {

void LogSoftmax(absl::Span<float> row) {
  const float top = *std::max_element(row.begin(), row.end());
  double sum = 0;
  for (const float x : row) sum += std::exp(x - top);
  const auto log_sum = static_cast<float>(top + std::log(sum));
  for (float& x : row) x -= log_sum;
}

double Divergence(absl::Span<const float> log_p, absl::Span<const float> log_q) {
  double divergence = 0;
  for (size_t i = 0; i < log_p.size(); ++i) divergence += std::exp(log_p[i]) * (log_p[i] - log_q[i]);
  return std::max(0.0, divergence);
}

}  // namespace decant
