#include "common/policy/profile_facts.h"

#include "common/base/status_macros.h"
#include "common/policy/priors.h"

namespace decant {

absl::StatusOr<ProfileFacts> FactsOf(const Profile& profile, const Geometry& geometry, RunType run_type,
                                     const Digest& model, const ProfileTable* table) {
  DECANT_ASSIGN_OR_RETURN(const Recipe recipe, Compile(profile, geometry, run_type));
  ProfileFacts facts;
  facts.name = profile.name;
  facts.digest = recipe.digest;
  facts.exact = recipe.exact();
  facts.takes_prefix = recipe.propagation.layer < 0;
  const double full_bytes = 4.0 * geometry.head_dim;  // of one head's K and V at 2 bytes per element
  // Of a split row the high tier holds keys only and the low tier values.
  const int64_t halves = recipe.split() ? TokenBytes(recipe.low, geometry.head_dim) : 0;
  facts.wire_ratio = full_bytes / static_cast<double>(TokenBytes(recipe.high, geometry.head_dim) + halves);
  facts.resident_ratio = facts.wire_ratio;
  facts.encode_bytes_per_s = kPriorEncodeBytesPerS;
  const ProfileCost* cost = table == nullptr ? nullptr : table->Find(profile.name);
  // What coding saves is not known before it was measured, and until then nothing speaks for it.
  if (facts.exact && (recipe.code == WireCode::kRaw || cost != nullptr)) facts.quality = 1;
  if (cost == nullptr) return facts;
  facts.encode_bytes_per_s = cost->encode_bytes_per_s;
  if (facts.exact && recipe.code == WireCode::kRaw) return facts;
  facts.wire_ratio = cost->wire_ratio;
  if (table->fingerprint != model) facts.measured_on = table->model;
  if (facts.exact) return facts;
  facts.quality = cost->quality;
  facts.resident_ratio = cost->resident_ratio;
  facts.tpot_ratio = cost->tpot_ratio;
  return facts;
}

}  // namespace decant
