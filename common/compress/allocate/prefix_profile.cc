#include "common/compress/allocate/prefix_profile.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "common/base/check.h"
#include "common/compress/allocate/keep.h"
#include "common/compress/score/protect.h"

namespace decant {
namespace {

constexpr double kTolerance = 5;

// Running sums of the descending scores over their total; a layer of zeros counts every token alike.
std::vector<double> RunningShare(absl::Span<const float> scores) {
  std::vector<double> share(scores.begin(), scores.end());
  for (double& score : share) score = std::isfinite(score) && score > 0 ? score : 0;
  std::sort(share.begin(), share.end(), std::greater<>());
  double total = 0;
  for (const double score : share) total += score;
  double sum = 0;
  for (size_t i = 0; i < share.size(); ++i) {
    sum += total > 0 ? share[i] / total : 1.0 / static_cast<double>(share.size());
    share[i] = sum;
  }
  return share;
}

int32_t LengthAt(const std::vector<double>& share, double mass) {
  const auto first = std::lower_bound(share.begin(), share.end(), mass);
  return static_cast<int32_t>(std::min<int64_t>(first - share.begin() + 1, static_cast<int64_t>(share.size())));
}

}  // namespace

int32_t PrefixLength(absl::Span<const float> scores, double mass) { return LengthAt(RunningShare(scores), mass); }

PrefixProfile SearchPrefixProfile(const PrefixSearch& search, absl::Span<const float> scores, int32_t tokens) {
  const auto row = static_cast<size_t>(tokens);
  DECANT_CHECK_MSG(tokens > 0 && scores.size() % row == 0, "%zu scores in layers of %d", scores.size(), tokens);
  std::vector<std::vector<double>> shares;
  for (size_t at = 0; at < scores.size(); at += row) shares.push_back(RunningShare(scores.subspan(at, row)));
  const int32_t most = std::max(tokens - search.start - search.protect, 0);
  std::vector<int32_t> forget(shares.size());
  const auto forget_at = [&](double mass) {
    int64_t sum = 0;
    for (size_t l = 0; l < shares.size(); ++l) {
      forget[l] = std::max(most - LengthAt(shares[l], mass), 0);
      sum += forget[l];
    }
    return sum;
  };

  PrefixProfile profile;
  const double target = search.removed * static_cast<double>(shares.size()) * tokens;
  double left = 0;
  double right = 1;
  int64_t sum = 0;
  while (profile.steps < search.most_steps && !profile.within_tolerance) {
    ++profile.steps;
    profile.mass = (left + right) / 2;
    sum = forget_at(profile.mass);
    profile.within_tolerance = std::abs(static_cast<double>(sum) - target) < kTolerance;
    if (static_cast<double>(sum) < target) {
      right = profile.mass;
    } else {
      left = profile.mass;
    }
  }
  const double scale = sum > 0 ? target / static_cast<double>(sum) : 0;
  for (const int32_t tokens_forgotten : forget) {
    const double whole = std::min(std::floor(tokens_forgotten * scale), static_cast<double>(most));
    profile.forget.push_back(whole / tokens);
  }
  return profile;
}

int32_t PrefixForget(double forget, int32_t tokens) {
  const double rounded = std::nearbyint(forget * tokens);
  return static_cast<int32_t>(std::clamp(rounded, 0.0, static_cast<double>(tokens)));
}

int32_t KeepPrefix(const PrefixSearch& search, absl::Span<const float> scores, int32_t forget,
                   absl::Span<uint8_t> kept) {
  std::vector<float> ranked(scores.begin(), scores.end());
  ProtectEnds(search.start, search.protect, absl::MakeSpan(ranked));
  const auto tokens = static_cast<int32_t>(scores.size());
  return static_cast<int32_t>(KeepBest(ranked, tokens - forget, kept));
}

}  // namespace decant
