#include "services/lab/scoring.h"

#include <algorithm>

#include "common/model/log_probabilities.h"

namespace decant {

void AddToken(int32_t token, absl::Span<const float> row, absl::Span<const float> full, AnswerScore& score) {
  const auto best = std::max_element(row.begin(), row.end()) - row.begin();
  ++score.tokens;
  score.right += best == token ? 1 : 0;
  score.surprise -= row[static_cast<size_t>(token)];
  score.divergence += row.data() == full.data() ? 0 : Divergence(full, row);
}

}  // namespace decant
