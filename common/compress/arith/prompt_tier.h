// The tier of a prompt's token: diffkv.md sections 2.1 (paper) and 2.4 (release).
#ifndef DECANT_COMMON_COMPRESS_ARITH_PROMPT_TIER_H_
#define DECANT_COMMON_COMPRESS_ARITH_PROMPT_TIER_H_

#include <cstdint>

#include "common/base/host_device.h"
#include "common/compress/arith/observations.h"
#include "common/compress/recipe.h"

namespace decant {

enum class PromptTier : uint8_t { kHigh = 0, kLow = 1, kPruned = 2 };

struct PromptPolicy {
  Allocation allocation = Allocation::kAllHigh;
  ScoreSource source = ScoreSource::kNone;
  float alpha_high = 0;
  float alpha_low = 0;
  int32_t window = 0;
  int32_t tokens = 0;       // N
  int32_t first_query = 0;  // queries before it left no sums
};

// `sum` is the group's maximum of the attention that the token at `position` (from 0) received. A tie stays in the
// better tier; thresholds above 1 are legal.
DECANT_HOST_DEVICE PromptTier ChoosePromptTier(const PromptPolicy& policy, int32_t position, float sum) {
  if (policy.allocation == Allocation::kAllHigh) return PromptTier::kHigh;
  if (policy.tokens - position <= policy.window) return PromptTier::kHigh;
  if (!HasSettled(position, policy.first_query, policy.tokens, policy.window)) return PromptTier::kHigh;
  const float mean = MeanScore(sum, Observations(position, policy.first_query, policy.tokens, policy.source));
  const int32_t over = policy.allocation == Allocation::kThresholdByPosition ? position + 1 : policy.tokens;
  const bool may_leave = MayLeave(position, policy.first_query, policy.tokens, policy.source);
  if (mean < policy.alpha_low / static_cast<float>(over) && may_leave) return PromptTier::kPruned;
  if (mean < policy.alpha_high / static_cast<float>(over)) return PromptTier::kLow;
  return PromptTier::kHigh;
}

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_ARITH_PROMPT_TIER_H_
