#include "services/lab/bootstrap.h"

#include <algorithm>
#include <vector>

#include "services/lab/draws.h"

namespace decant {
namespace {

// The quantile of sorted values, between neighbours where it falls between.
double Quantile(const std::vector<double>& sorted, double share) {
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (place - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

Estimate Summary(double mean, std::vector<double>& resampled) {
  std::sort(resampled.begin(), resampled.end());
  return Estimate{mean, Quantile(resampled, 0.025), Quantile(resampled, 0.975)};
}

double Mean(absl::Span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

}  // namespace

PairedEstimate PairedBootstrap(absl::Span<const double> credits, absl::Span<const double> reference, uint64_t seed) {
  if (credits.empty()) return PairedEstimate();
  const size_t count = credits.size();
  Draws draw(seed);
  std::vector<double> means(kResamples), differences(kResamples);
  for (size_t resample = 0; resample < kResamples; ++resample) {
    double mine = 0, theirs = 0;
    for (size_t i = 0; i < count; ++i) {
      const size_t question = draw.Below(count);
      mine += credits[question];
      theirs += reference[question];
    }
    means[resample] = mine / static_cast<double>(count);
    differences[resample] = (mine - theirs) / static_cast<double>(count);
  }
  PairedEstimate estimate;
  estimate.accuracy = Summary(Mean(credits), means);
  estimate.difference = Summary(Mean(credits) - Mean(reference), differences);
  return estimate;
}

absl::string_view Verdict(const Estimate& difference, int64_t samples) {
  const double least = 3.0 / static_cast<double>(std::max<int64_t>(1, samples));
  if (std::max(difference.half_width(), least) > kMostHalfWidth) return "undecided";
  if (difference.low <= 0 && difference.high >= 0) return "same";
  return difference.mean > 0 ? "better" : "worse";
}

}  // namespace decant
