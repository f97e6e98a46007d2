// What decode adds to a token's score at each step, by online policy.
#ifndef DECANT_COMMON_COMPRESS_ARITH_SCORE_POLICY_H_
#define DECANT_COMMON_COMPRESS_ARITH_SCORE_POLICY_H_

#include "common/base/host_device.h"
#include "common/kv/rows.h"

namespace decant {

// Whether the policy looks at scores at all.
DECANT_HOST_DEVICE constexpr bool KeepsScores(OnlinePolicy policy) {
  return policy == OnlinePolicy::kDiffKvPaper || policy == OnlinePolicy::kDiffKvCode ||
         policy == OnlinePolicy::kHeavyHitter || policy == OnlinePolicy::kDemoteOldest;
}

// Of the query heads that share a kv head the mean (H2O as KVCache-Factory and kvpress run it with grouped queries,
// MiKV's importance likewise); else the maximum (DiffKV).
DECANT_HOST_DEVICE constexpr bool ScoresAreMeans(OnlinePolicy policy) {
  return policy == OnlinePolicy::kHeavyHitter || policy == OnlinePolicy::kDemoteOldest;
}

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_ARITH_SCORE_POLICY_H_
