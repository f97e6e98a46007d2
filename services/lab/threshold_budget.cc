#include "services/lab/threshold_budget.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/compress/profile_names.h"
#include "services/lab/shared_prefill.h"

namespace decant {
namespace {

// 2^-8 ... 2^11 in half steps: from next to nothing demoted to next to everything pruned.
constexpr int kLeastHalfSteps = -16;
constexpr int kMostHalfSteps = 22;

}  // namespace

Profile WithScaledAlphas(const Profile& profile, double factor) {
  Profile scaled = profile;
  scaled.alpha_high = profile.alpha_high * factor;
  scaled.alpha_low = (profile.alpha_low > 0 ? profile.alpha_low : profile.alpha_high / 1000) * factor;
  scaled.digest = ProfileDigest(scaled);
  return scaled;
}

std::optional<double> FactorFor(const std::vector<double>& factors, const std::vector<double>& shares, double budget) {
  for (size_t i = 0; i + 1 < factors.size(); ++i) {
    if (shares[i] < budget || shares[i + 1] > budget) continue;
    if (shares[i] == shares[i + 1]) return factors[i];
    const double part = (shares[i] - budget) / (shares[i] - shares[i + 1]);
    return factors[i] * std::pow(factors[i + 1] / factors[i], part);
  }
  return std::nullopt;
}

absl::StatusOr<std::vector<std::optional<double>>> FactorsForBudgets(const LoadedModel& model, const Profile& profile,
                                                                     const std::vector<std::vector<int32_t>>& prompts,
                                                                     const std::vector<double>& budgets) {
  if (prompts.empty()) return absl::InvalidArgumentError("no prompts to set thresholds on");
  const Geometry geometry = model.weights->config().geometry();
  std::vector<double> factors;
  std::vector<Recipe> recipes;
  for (int step = kLeastHalfSteps; step <= kMostHalfSteps; ++step) {
    factors.push_back(std::pow(2.0, step / 2.0));
    DECANT_ASSIGN_OR_RETURN(Recipe recipe,
                            Compile(WithScaledAlphas(profile, factors.back()), geometry, model.weights->run_type()));
    recipes.push_back(std::move(recipe));
  }
  std::vector<double> shares(factors.size());
  double full_bytes = 0;
  const auto stream = model.device->NewStream();
  for (const std::vector<int32_t>& prompt : prompts) {
    full_bytes += static_cast<double>(prompt.size()) * static_cast<double>(geometry.full_bytes_per_token());
    DECANT_ASSIGN_OR_RETURN(const std::vector<PromptFrames> frames, PrefillShared(model, *stream, prompt, recipes));
    for (size_t i = 0; i < frames.size(); ++i) shares[i] += static_cast<double>(frames[i].frame_bytes);
  }
  for (double& share : shares) share /= full_bytes;
  std::vector<std::optional<double>> found;
  for (const double budget : budgets) found.push_back(FactorFor(factors, shares, budget));
  return found;
}

}  // namespace decant
