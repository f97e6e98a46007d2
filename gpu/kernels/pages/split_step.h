// The step of a split row (OnlinePolicy::kFreeze, KIVI). With n tokens stored and a window of w: when w keys wait in
// the window all of them are frozen; when w values do, the oldest is, that of position n - w; then the new token takes
// slot n % w of both windows. So attention sees a window's keys in full until the step after the one that filled it, as
// in compression-methods.md section 4.2, and the newest w values.
#ifndef DECANT_GPU_KERNELS_PAGES_SPLIT_STEP_H_
#define DECANT_GPU_KERNELS_PAGES_SPLIT_STEP_H_

#include <cstdint>

#include "common/kv/rows.h"
#include "gpu/kernels/pages/slot.h"

namespace decant {

// How many tokens each tier gains, the window's losses left out.
struct SplitGrowth {
  int32_t tokens[kTierCount] = {0, 0, 0, 0};
};

DECANT_HOST_DEVICE SplitGrowth SplitGrowthOf(const HeadState& state, int32_t window) {
  SplitGrowth growth;
  growth.tokens[kHigh] = state.tokens[kFixed] == window ? window : 0;
  growth.tokens[kLow] = state.tokens[kTail] == window ? 1 : 0;
  growth.tokens[kFixed] = state.tokens[kFixed] == window ? 0 : 1;
  growth.tokens[kTail] = state.tokens[kTail] == window ? 0 : 1;
  return growth;
}

// Pages that the step takes, by tier.
struct SplitPages {
  int32_t pages[kTierCount] = {0, 0, 0, 0};
};

DECANT_HOST_DEVICE SplitPages SplitPagesOf(const PageArena& arena, const SequenceRows& rows, const HeadState& state) {
  const SplitGrowth growth = SplitGrowthOf(state, rows.window);
  SplitPages taken;
  for (int32_t tier = 0; tier < kTierCount; ++tier) {
    const int32_t page_tokens = TierLayout(arena, rows, tier).tokens;
    const int32_t lacking = PagesFor(state.tokens[tier] + growth.tokens[tier], page_tokens) - state.pages[tier];
    taken.pages[tier] = lacking > 0 ? lacking : 0;
  }
  return taken;
}

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_PAGES_SPLIT_STEP_H_
