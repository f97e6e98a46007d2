// What a budget means for a profile whose thresholds alpha_high and alpha_low decide how much is kept.
#ifndef DECANT_SERVICES_LAB_THRESHOLD_BUDGET_H_
#define DECANT_SERVICES_LAB_THRESHOLD_BUDGET_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/compress/profile.h"
#include "gpu/engine/loaded_model.h"

namespace decant {

// Both alphas times one factor; an alpha_low of 0 counts as alpha_high / 1000, so that a factor can prune at all.
Profile WithScaledAlphas(const Profile& profile, double factor);

// For each budget the factor with which the frames of `prompts` together take that share of full precision's bytes (2
// per element); none where no factor does. Shares between the factors that were tried are interpolated. A threshold
// keeps a different share of every prompt: the lab's table has the true bytes of what it measured.
absl::StatusOr<std::vector<std::optional<double>>> FactorsForBudgets(const LoadedModel& model, const Profile& profile,
                                                                     const std::vector<std::vector<int32_t>>& prompts,
                                                                     const std::vector<double>& budgets);

// The factor at which `share`, falling with the ascending `factors`, reaches `budget`: log-linear between the two
// neighbours, none outside.
std::optional<double> FactorFor(const std::vector<double>& factors, const std::vector<double>& shares, double budget);

}  // namespace decant

#endif  // DECANT_SERVICES_LAB_THRESHOLD_BUDGET_H_
