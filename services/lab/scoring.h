// The measures of one fed text: what a profile's logits say about tokens that are known.
#ifndef DECANT_SERVICES_LAB_SCORING_H_
#define DECANT_SERVICES_LAB_SCORING_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace decant {

// Sums over the tokens of an answer, or of one span of it.
struct AnswerScore {
  int32_t tokens = 0;
  int32_t right = 0;      // tokens that greedy decoding would have given
  double surprise = 0;    // -log p(token), nats
  double divergence = 0;  // KL(full || profile), nats

  friend bool operator==(const AnswerScore& a, const AnswerScore& b) {
    return a.tokens == b.tokens && a.right == b.right && a.surprise == b.surprise && a.divergence == b.divergence;
  }
};

// Adds one token to `score`: `row` holds the profile's log-probabilities, `full` those of full precision. A tie for the
// best goes to the lowest id, as in greedy sampling.
void AddToken(int32_t token, absl::Span<const float> row, absl::Span<const float> full, AnswerScore& score);

}  // namespace decant

#endif  // DECANT_SERVICES_LAB_SCORING_H_
