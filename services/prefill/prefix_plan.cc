#include "services/prefill/prefix_plan.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace decant {
namespace {

// The one format of a profile's stored frames, or kNone when tokens of a frame may be in several or missing.
FormatId StoredFormat(const std::string& name, const Catalogue& catalogue, const Geometry& geometry, RunType run_type) {
  const auto profile = catalogue.Find(name);
  if (!profile.ok()) return FormatId::kNone;
  const auto recipe = Compile(*profile, geometry, run_type);
  return recipe.ok() && recipe->allocation == Allocation::kAllHigh ? recipe->high : FormatId::kNone;
}

bool IsExact(FormatId format) { return format == FormatId::kFullF32 || format == FormatId::kFullBf16; }

}  // namespace

PrefixPlan PlanPrefix(const PrefillJob& job, const Recipe& recipe, const Catalogue& catalogue,
                      const Geometry& geometry) {
  PrefixPlan plan;
  if (!job.prefix.empty() && recipe.propagation.layer >= 0) {
    plan.miss_reason = absl::StrCat(recipe.profile, " leaves tokens behind in prefill, for which all are computed");
    return plan;
  }
  const int64_t most = static_cast<int64_t>(job.tokens.size()) - recipe.least_computed();
  int64_t next_token = 0;
  for (const StoredChunk& chunk : job.prefix) {
    const std::string name = absl::StrCat("chunk at token ", chunk.first_token);
    if (chunk.first_token != next_token || chunk.tokens != job.chunk_tokens) {
      plan.miss_reason = absl::StrCat(name, " with ", chunk.tokens, " tokens does not continue the prefix");
      return plan;
    }
    next_token += chunk.tokens;
    if (next_token > most) {
      plan.miss_reason = most == static_cast<int64_t>(job.tokens.size()) - 1
                             ? absl::StrCat(name, " would leave no token to compute")
                             : absl::StrCat(name, " would leave fewer tokens to compute than the ",
                                            recipe.least_computed(), " that ", recipe.profile, " chooses by");
      return plan;
    }
    const FormatId format = StoredFormat(chunk.profile, catalogue, geometry, job.run_type);
    if (format == FormatId::kNone || (recipe.exact() && !IsExact(format))) {
      plan.miss_reason =
          absl::StrCat(name, " is stored as ", chunk.profile, ", which a ", recipe.profile, " request cannot take");
      return plan;
    }
    const bool fits =
        recipe.forwards_prefix() && (format == recipe.high || format == recipe.low || format == recipe.prefix_format());
    const bool all_forwarded = plan.leading == plan.chunks();
    if (fits && all_forwarded) ++plan.leading;
    const bool is_own = recipe.allocation == Allocation::kAllHigh && format == recipe.high;
    plan.forwards.push_back(fits && (all_forwarded || is_own));
    plan.formats.push_back(format);
  }
  return plan;
}

}  // namespace decant
