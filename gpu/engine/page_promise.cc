#include "gpu/engine/page_promise.h"

#include <algorithm>

#include "common/base/check.h"
#include "common/compress/arith/window_split.h"

namespace decant {
namespace {

int64_t PagesOf(int64_t tokens, int32_t per_page) { return per_page == 0 ? 0 : (tokens + per_page - 1) / per_page; }

}  // namespace

int64_t WorstCaseHeadPages(const TierPages& pages, int64_t total) {
  int32_t fewest = 0;
  int32_t tiers = 0;
  for (const int32_t tokens : pages.tokens) {
    if (tokens == 0) continue;
    fewest = tiers == 0 ? tokens : std::min(fewest, tokens);
    ++tiers;
  }
  DECANT_CHECK(tiers > 0);
  return PagesOf(total, fewest) + tiers - 1;
}

int64_t GrownHeadPages(const TierPages& pages, const int32_t (&tokens)[kTierCount], int64_t movable, int64_t growth) {
  const int64_t fixed = PagesOf(tokens[kFixed], pages.tokens[kFixed]) + PagesOf(tokens[kTail], pages.tokens[kTail]);
  const auto with_low_growth = [&](int64_t low) {
    return PagesOf(tokens[kHigh] + growth - low, pages.tokens[kHigh]) + PagesOf(tokens[kLow] + low, pages.tokens[kLow]);
  };
  int64_t most = with_low_growth(0);
  if (pages.tokens[kLow] == 0) return fixed + most;
  // A low page packs at least as many tokens as a high one, so at most the step into its next page is worth a high
  // token; where it packs fewer, all that can may go there.
  const int64_t reach = movable + growth;
  const int64_t held = PagesOf(tokens[kLow], pages.tokens[kLow]) * pages.tokens[kLow];
  const int64_t into_next_page = held - tokens[kLow] + 1;
  if (into_next_page <= reach) most = std::max(most, with_low_growth(into_next_page));
  if (pages.tokens[kLow] < pages.tokens[kHigh]) most = std::max(most, with_low_growth(reach) + 1);
  return fixed + most;
}

int64_t SplitHeadPages(const TierPages& pages, int64_t total, int32_t window) {
  const auto tokens = static_cast<int32_t>(total);
  const int32_t in_window = std::min(tokens, window);
  return PagesOf(FrozenKeys(tokens, window), pages.tokens[kHigh]) +
         PagesOf(FrozenValues(tokens, window), pages.tokens[kLow]) + PagesOf(in_window, pages.tokens[kFixed]) +
         PagesOf(in_window, pages.tokens[kTail]);
}

}  // namespace decant
