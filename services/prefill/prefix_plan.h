#ifndef DECANT_SERVICES_PREFILL_PREFIX_PLAN_H_
#define DECANT_SERVICES_PREFILL_PREFIX_PLAN_H_

#include <cstdint>
#include <string>
#include <vector>

#include "common/compress/profile.h"
#include "common/compress/recipe.h"
#include "common/kv/geometry.h"
#include "services/prefill/job.h"

namespace decant {

// Which of the planned chunks a request can use. Forwarded chunks come first: their stored frames go to decode as they
// are. Exact chunks under a recipe that compresses come behind them: they are expanded and encoded like computed ones,
// so that a hit gives what a cold run gives.
struct PrefixPlan {
  int32_t forwarded = 0;
  int32_t exact = 0;
  std::vector<FormatId> formats;  // [forwarded + exact], of the stored frames
  std::string miss_reason;        // why it ends before the planned end; empty when it does not

  int32_t chunks() const { return forwarded + exact; }
};

// The longest leading run of `job.prefix` that fits `recipe`: whole chunks without a gap, at least one token of the
// prompt left to compute, more where the recipe chooses by them (Recipe::least_computed), in formats that decode has
// room for. A recipe that does not forward a prefix takes only exact chunks; one that leaves tokens behind in prefill
// takes none.
PrefixPlan PlanPrefix(const PrefillJob& job, const Recipe& recipe, const Catalogue& catalogue,
                      const Geometry& geometry);

}  // namespace decant

#endif  // DECANT_SERVICES_PREFILL_PREFIX_PLAN_H_
