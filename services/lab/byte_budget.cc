#include "services/lab/byte_budget.h"

#include <algorithm>
#include <utility>

#include "common/base/status_macros.h"
#include "common/compress/profile_names.h"

namespace decant {
namespace {

// The mean over the layers of what they keep of `kept` when those behind a propagation have no more than its share.
double MeanKept(const Recipe& recipe, int32_t layers, double kept) {
  if (recipe.propagation.layer < 0) return kept;
  const double whole = static_cast<double>(recipe.propagation.layer + 1) / layers;
  return whole * kept + (1 - whole) * std::min(kept, static_cast<double>(recipe.propagation.share));
}

// The inverse of MeanKept; above 1 where nothing keeps so much.
double KeptFor(const Recipe& recipe, int32_t layers, double mean) {
  if (recipe.propagation.layer < 0 || mean <= recipe.propagation.share) return mean;
  const double whole = static_cast<double>(recipe.propagation.layer + 1) / layers;
  return (mean - (1 - whole) * recipe.propagation.share) / whole;
}

// Sets the profile's numbers for `target` bytes per token of one head; false where none reach it.
bool SetTokens(const Recipe& recipe, const Geometry& geometry, double target, Profile& profile) {
  const auto high = static_cast<double>(TokenBytes(recipe.high, geometry.head_dim));
  const auto low = static_cast<double>(TokenBytes(recipe.low, geometry.head_dim));
  if (recipe.low == FormatId::kNone) {
    profile.budget = KeptFor(recipe, geometry.layers, target / high);
    return profile.budget <= 1 && MeanKept(recipe, geometry.layers, profile.budget) > 0;
  }
  if (!recipe.cuts_twice()) {
    profile.budget = (target - low) / (high - low);
    return profile.budget > 0 && profile.budget <= 1;
  }
  profile.budget = target / (profile.high_share * high + (1 - profile.high_share) * low);
  if (profile.budget <= 1) return true;
  profile.budget = 1;
  profile.high_share = (target - low) / (high - low);
  return profile.high_share <= 1;
}

}  // namespace

absl::StatusOr<std::optional<Profile>> WithByteBudget(const Profile& profile, const Geometry& geometry,
                                                      RunType run_type, double share) {
  DECANT_ASSIGN_OR_RETURN(const Recipe recipe, Compile(profile, geometry, run_type));
  const double full = static_cast<double>(geometry.full_bytes_per_token()) / geometry.layers / geometry.kv_heads;
  Profile sized = profile;
  if (!SetTokens(recipe, geometry, share * full, sized)) return std::optional<Profile>();
  sized.digest = ProfileDigest(sized);
  return std::optional<Profile>(std::move(sized));
}

}  // namespace decant
