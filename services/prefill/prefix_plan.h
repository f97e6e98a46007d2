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

// Which of the planned chunks a request can use, and how: the stored frames of a forwarded chunk go to decode as they
// are; any other chunk is expanded and encoded like a computed one, so that a hit over exact chunks gives what a cold
// run gives, and rows hold one form whatever forms their chunks were stored in.
struct PrefixPlan {
  std::vector<FormatId> formats;  // [chunks()], of the stored frames
  std::vector<bool> forwards;     // [chunks()]
  int32_t leading = 0;            // chunks from the front on that are forwarded
  std::string miss_reason;        // why it ends before the planned end; empty when it does not

  int32_t chunks() const { return static_cast<int32_t>(formats.size()); }
};

// The longest leading run of `job.prefix` that fits `recipe`: whole chunks without a gap, at least one token of the
// prompt left to compute, more where the recipe chooses by them (Recipe::least_computed), in any form
// that frames can be expanded from. An exact recipe takes only exact chunks, one that leaves tokens behind in prefill
// none. Behind an encoded chunk only those are forwarded that are in the one
// format of all the recipe's tokens: elsewhere tiers are chosen among the encoded ones.
PrefixPlan PlanPrefix(const PrefillJob& job, const Recipe& recipe, const Catalogue& catalogue,
                      const Geometry& geometry);

}  // namespace decant

#endif  // DECANT_SERVICES_PREFILL_PREFIX_PLAN_H_
