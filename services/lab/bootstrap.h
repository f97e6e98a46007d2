// How sure a difference between two profiles is that answered the same questions.
#ifndef DECANT_SERVICES_LAB_BOOTSTRAP_H_
#define DECANT_SERVICES_LAB_BOOTSTRAP_H_

#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace decant {

struct Estimate {
  double mean = 0;
  double low = 0;   // 2.5 % and
  double high = 0;  // 97.5 % quantile over the resamples

  double half_width() const { return (high - low) / 2; }
};

struct PairedEstimate {
  Estimate accuracy;
  Estimate difference;  // accuracy - that of the reference on the same questions
};

inline constexpr int kResamples = 2000;

// Percentile bootstrap (Efron 1979) of clusters: questions about one context stand or fall together, so contexts are
// drawn with replacement, each with all of its questions; both profiles keep their own credit of each. credits[i] and
// reference[i] in [0, 1] are of question i, questions[c] is how many consecutive ones context c has. All zero without
// questions. A pure function of its arguments.
PairedEstimate PairedBootstrap(absl::Span<const double> credits, absl::Span<const double> reference,
                               absl::Span<const int32_t> questions, uint64_t seed);

// Half-widths above this are no ground for a claim.
inline constexpr double kMostHalfWidth = 0.015;
// "undecided", "same" (the interval holds 0), "better" or "worse". A bootstrap of `samples` questions that all agree
// has an interval of no width; what was seen in none of n draws may still happen in 3 / n of them (the rule of three),
// so that is the least half-width: fewer than 200 questions decide nothing.
absl::string_view Verdict(const Estimate& difference, int64_t samples);

}  // namespace decant

#endif  // DECANT_SERVICES_LAB_BOOTSTRAP_H_
