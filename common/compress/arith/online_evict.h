// The policies that hold a head to a number of tokens while decoding: each says which token leaves (or, kDemoteOldest,
// goes to the low tier) when a new one comes. At most one does per step, and the new one takes its slot.
//
// - kHeavyHitter: H2O (arXiv 2306.14048, real drop): of the tokens outside the window the one that received least
//   attention over all queries so far; what it had received is forgotten with it. The limit counts the newest token,
//   which no step has looked at yet: the reference's heavy + recent is limit - 1.
// - kSinksAndRecent: StreamingLLM (arXiv 2309.17453, evict_for_space): the oldest one behind the sinks.
// - kDemoteOldest: MiKV (arXiv 2402.18096): the choice of H2O among high tokens; the limit is that of the high tier.
// - kKeepShare: PrefixKV (arXiv 2412.03409): a layer holds its share of all tokens seen so far. The released code
//   deletes the entry at a fixed index. Entries before it are never touched, so they keep the slots in which the
//   prompt put them, in order of position, and the entry is the oldest one from that slot on.
#ifndef DECANT_COMMON_COMPRESS_ARITH_ONLINE_EVICT_H_
#define DECANT_COMMON_COMPRESS_ARITH_ONLINE_EVICT_H_

#include <cstdint>

#include "common/base/host_device.h"
#include "common/kv/rows.h"

namespace decant {

// PrefixKV's fixed index: so many entries before the end of what the prompt left of itself; where it left fewer, the
// middle of it (the released code's `distance`).
inline constexpr int32_t kKeepShareDistance = 25;
DECANT_HOST_DEVICE constexpr int32_t KeepShareIndex(int32_t prompt_tokens_kept) {
  const int32_t index = prompt_tokens_kept - kKeepShareDistance;
  return index < 1 ? prompt_tokens_kept / 2 : index;
}

DECANT_HOST_DEVICE constexpr bool HoldsToALimit(OnlinePolicy policy) {
  return policy == OnlinePolicy::kHeavyHitter || policy == OnlinePolicy::kSinksAndRecent ||
         policy == OnlinePolicy::kDemoteOldest || policy == OnlinePolicy::kKeepShare;
}

// One head before the step.
struct EvictRule {
  OnlinePolicy policy = OnlinePolicy::kNone;
  int32_t sinks = 0;
  int32_t window = 0;
  int32_t position = 0;  // of the new token
  int32_t limit = 0;     // tokens that may be held with the new one; of kKeepShare the fixed index
  float share = 1;       // of kKeepShare
};

DECANT_HOST_DEVICE EvictRule EvictRuleOf(const SequenceRows& rows, int32_t layer) {
  EvictRule rule;
  rule.policy = rows.policy;
  if (!HoldsToALimit(rows.policy)) return rule;
  rule.sinks = rows.sinks;
  rule.window = rows.window;
  rule.position = *rows.length;
  rule.limit = rows.layer_limits != nullptr ? rows.layer_limits[layer] : rows.limit;
  rule.share = rows.keep_shares != nullptr ? rows.keep_shares[layer] : 1.0f;
  return rule;
}

// The token of lowest rank; of equal ones the latest, as the earlier ranks higher among equal scores.
struct Victim {
  float rank = 0;
  int32_t position = -1;
  int32_t slot = -1;
};

DECANT_HOST_DEVICE void Consider(Victim& victim, float rank, int32_t position, int32_t slot) {
  if (slot < 0) return;
  const bool first = victim.slot < 0;
  if (first || rank < victim.rank || (rank == victim.rank && position > victim.position)) {
    victim = Victim{rank, position, slot};
  }
}

// Shows one token of the high tier. A score that is no number is the first to go.
DECANT_HOST_DEVICE void ScanVictim(const EvictRule& rule, int32_t slot, int32_t position, float sum, Victim& victim) {
  if (rule.policy == OnlinePolicy::kKeepShare) {
    if (slot >= rule.limit) Consider(victim, static_cast<float>(position), position, slot);
    return;
  }
  if (position < rule.sinks || position >= rule.position - rule.window) return;
  const bool by_age = rule.policy == OnlinePolicy::kSinksAndRecent;
  const float rank = by_age ? static_cast<float>(position) : sum == sum ? sum : -3.402823466e+38f;
  Consider(victim, rank, position, slot);
}

// Whether a head that holds `high` tokens, `held` in all tiers, has to let one go for the new one.
DECANT_HOST_DEVICE bool IsAtLimit(const EvictRule& rule, int32_t high, int32_t held) {
  if (rule.policy == OnlinePolicy::kDemoteOldest) return high >= rule.limit;
  if (rule.policy != OnlinePolicy::kKeepShare) return held >= rule.limit;
  // The nearest whole number, as for the prompt itself.
  return static_cast<float>(held) > rule.share * static_cast<float>(rule.position) + 0.5f;
}

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_ARITH_ONLINE_EVICT_H_
