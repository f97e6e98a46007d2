#include "common/compress/allocate/token_limits.h"

#include <algorithm>

#include "common/compress/allocate/budget.h"
#include "common/compress/arith/online_evict.h"

namespace decant {

int64_t TokenLimits::Most(int32_t layer, int64_t total) const {
  if (!drops) return total;
  const auto index = static_cast<size_t>(layer);
  if (shares.empty()) return std::min<int64_t>(total, limits[index]);
  // One more than the rounded share while it grows, and one for what float arithmetic may round away.
  const auto share = static_cast<int64_t>(double{shares[index]} * static_cast<double>(total) + 0.5) + 2;
  return std::min(total, std::max<int64_t>(share, int64_t{kept[index]} + 1));
}

TokenLimits TokenLimitsOf(const Recipe& recipe, int32_t layers, int32_t prompt_tokens) {
  TokenLimits made;
  if (!HoldsToALimit(recipe.online)) return made;
  made.drops = recipe.online != OnlinePolicy::kDemoteOldest;
  made.kept = recipe.allocation == Allocation::kAllHigh
                  ? std::vector<int32_t>(static_cast<size_t>(layers), prompt_tokens)
                  : LayerBudgets(recipe, layers, prompt_tokens);
  for (const int32_t kept : made.kept) {
    if (recipe.online == OnlinePolicy::kKeepShare) {
      made.limits.push_back(KeepShareIndex(kept));
      made.shares.push_back(static_cast<float>(double{1} * kept / std::max(prompt_tokens, 1)));
    } else {
      made.limits.push_back(std::max(kept, recipe.sinks + recipe.window) + 1);
    }
  }
  return made;
}

}  // namespace decant
