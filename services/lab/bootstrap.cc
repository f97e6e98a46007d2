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

// Sums over the questions of one context.
struct Context {
  double mine = 0;
  double theirs = 0;
  double questions = 0;
};

std::vector<Context> ContextsOf(absl::Span<const double> credits, absl::Span<const double> reference,
                                absl::Span<const int32_t> questions) {
  std::vector<Context> contexts;
  size_t next = 0;
  for (const int32_t count : questions) {
    if (count == 0) continue;
    Context& context = contexts.emplace_back();
    for (const size_t end = next + static_cast<size_t>(count); next < end; ++next) {
      context.mine += credits[next];
      context.theirs += reference[next];
      context.questions += 1;
    }
  }
  return contexts;
}

}  // namespace

PairedEstimate PairedBootstrap(absl::Span<const double> credits, absl::Span<const double> reference,
                               absl::Span<const int32_t> questions, uint64_t seed) {
  if (credits.empty()) return PairedEstimate();
  const std::vector<Context> contexts = ContextsOf(credits, reference, questions);
  Draws draw(seed);
  std::vector<double> means(kResamples), differences(kResamples);
  for (size_t resample = 0; resample < kResamples; ++resample) {
    double mine = 0, theirs = 0, count = 0;
    for (size_t i = 0; i < contexts.size(); ++i) {
      const Context& context = contexts[draw.Below(contexts.size())];
      mine += context.mine;
      theirs += context.theirs;
      count += context.questions;
    }
    means[resample] = mine / count;
    differences[resample] = (mine - theirs) / count;
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
