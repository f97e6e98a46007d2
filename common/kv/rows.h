// The page tables as kernels see them: plain structs of addresses in device memory.
//
// A head's row of page ids has `capacity` places: pages of a fixed run (a prefix that came in another format) stand
// first, the high tier grows rightwards behind them, the low tier leftwards from the last place. Holes inside a tier
// never form: a victim's slot is overwritten.
#ifndef DECANT_COMMON_KV_ROWS_H_
#define DECANT_COMMON_KV_ROWS_H_

#include <cstdint>

#include "common/kv/format.h"
#include "common/kv/geometry.h"
#include "common/kv/page.h"

namespace decant {

enum TierIndex : int32_t { kHigh = 0, kLow = 1, kFixed = 2 };
inline constexpr int kTierCount = 3;

// One (sequence, layer, kv head).
struct HeadState {
  int32_t tokens[kTierCount] = {0, 0, 0};
  int32_t pages[kTierCount] = {0, 0, 0};
};

// Which policy moves tokens between the tiers while decoding (reference: diffkv.md sections 2.2 and 2.5).
enum class OnlinePolicy : uint8_t { kNone = 0, kDiffKvPaper = 1, kDiffKvCode = 2 };

// One sequence; what varies from step to step lives in `heads` and `length`.
struct SequenceRows {
  HeadState* heads = nullptr;   // [layers, kv_heads]
  int32_t* page_ids = nullptr;  // [layers, kv_heads, capacity]
  int32_t* length = nullptr;    // tokens seen so far = position of the next token; one value
  int32_t capacity = 0;
  FormatId formats[kTierCount] = {FormatId::kNone, FormatId::kNone, FormatId::kNone};
  OnlinePolicy policy = OnlinePolicy::kNone;
  float alpha_high = 0;
  float alpha_low = 0;
  int32_t window = 0;  // the newest tokens that no policy touches
  int32_t first_query =
      0;  // queries before this position left no scores: a prompt whose prefix was reused, or the window policy
};

// The place in a row of page `page` of a tier.
DECANT_HOST_DEVICE int32_t RowPlace(const HeadState& head, int32_t capacity, int32_t tier, int32_t page) {
  if (tier == kFixed) return page;
  if (tier == kHigh) return head.pages[kFixed] + page;
  return capacity - 1 - page;
}

// All pages of a device.
struct PageArena {
  uint8_t* pages = nullptr;  // [page_count, page_bytes]
  int64_t page_bytes = 0;
  int32_t page_count = 0;
  Geometry geometry;
  PageLayout layouts[kFormatCount];  // by FormatId
};

// The free list: a ring of page ids in device memory. head and tail only grow, so that full (tail - head == page_count)
// and empty (tail == head) differ; ids [head, tail) modulo page_count are free.
struct PageRing {
  int32_t* ids = nullptr;         // [page_count]
  uint64_t* head_tail = nullptr;  // {head, tail}
  int32_t page_count = 0;
};

// What one head does with the new token of a step, decided by PlanStep and executed by AppendToken:
// if demote_to >= 0 the token in high slot `high_slot` is first re-encoded into low slot `demote_to` (== low count: a
// fresh slot); then the new token is written to `high_slot` (== high count: a fresh slot). high_slot -1: there was no
// page for it, nothing happens.
struct StepAction {
  int32_t high_slot = 0;
  int32_t demote_to = -1;
};

}  // namespace decant

#endif  // DECANT_COMMON_KV_ROWS_H_
