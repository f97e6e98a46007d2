// Distributions over the vocabulary, as the logarithms of their probabilities, and how far two of them are apart.
#ifndef DECANT_COMMON_MODEL_LOG_PROBABILITIES_H_
#define DECANT_COMMON_MODEL_LOG_PROBABILITIES_H_

#include "absl/types/span.h"

namespace decant {

// log softmax of a row of logits, in place. REQUIRES: not empty.
void LogSoftmax(absl::Span<float> row);
// KL(p || q) in nats of two rows of log-probabilities of the same size, at least 0.
double Divergence(absl::Span<const float> log_p, absl::Span<const float> log_q);

}  // namespace decant

#endif  // DECANT_COMMON_MODEL_LOG_PROBABILITIES_H_
