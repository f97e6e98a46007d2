// What a budget of bytes means for a profile whose budget is a share of the prompt's tokens.
#ifndef DECANT_SERVICES_LAB_BYTE_BUDGET_H_
#define DECANT_SERVICES_LAB_BYTE_BUDGET_H_

#include <optional>

#include "absl/status/statusor.h"
#include "common/compress/profile.h"
#include "common/kv/geometry.h"

namespace decant {

// `profile` with the token budget at which its pages take `share` of full precision's bytes (2 per element), what they
// hold besides codes included, their half-empty ends not. Where a low format holds what is not high, the high tokens
// are counted so that both together take that much; of allocate global_tiers the kept tokens keep their high_share
// until all of them are kept, from there on more of them are high. None where no budget takes so little or so much.
absl::StatusOr<std::optional<Profile>> WithByteBudget(const Profile& profile, const Geometry& geometry,
                                                      RunType run_type, double share);

}  // namespace decant

#endif  // DECANT_SERVICES_LAB_BYTE_BUDGET_H_
