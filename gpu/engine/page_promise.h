// How many pages a head can come to hold: what a reservation promises.
#ifndef DECANT_GPU_ENGINE_PAGE_PROMISE_H_
#define DECANT_GPU_ENGINE_PAGE_PROMISE_H_

#include <cstdint>

#include "common/kv/rows.h"

namespace decant {

// Tokens per page of each tier; 0 for a tier that the sequence does not have.
struct TierPages {
  int32_t tokens[kTierCount] = {0, 0, 0};
};

// The most pages of one head before anything is known about it: `total` tokens at the tier that packs the fewest, and a
// tail page in each of the others.
int64_t WorstCaseHeadPages(const TierPages& pages, int64_t total);

// The most pages of one head that holds `tokens`, of whose high ones up to `movable` go low or leave at once (their
// pages come back first), and then appends `growth` more: every step adds at most one token to the high or the low
// tier, and pages are never given back before the sequence ends.
int64_t GrownHeadPages(const TierPages& pages, const int32_t (&tokens)[kTierCount], int64_t movable, int64_t growth);

// The most pages of one head of a split row (OnlinePolicy::kFreeze) that comes to hold `total` tokens: what is frozen
// by then, and both windows.
int64_t SplitHeadPages(const TierPages& pages, int64_t total, int32_t window);

}  // namespace decant

#endif  // DECANT_GPU_ENGINE_PAGE_PROMISE_H_
