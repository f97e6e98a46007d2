// The page tables as kernels see them: plain structs of addresses in device memory.
//
// A head's row of page ids has `capacity` places: pages of a fixed run (a prefix that came in another format, or the
// full keys of a split row's window) stand first, those of a tail (the full values of that window) behind them; the
// high tier grows rightwards behind both, the low tier leftwards from the last place. Holes inside a tier never form: a
// victim's slot is overwritten.
//
// A split row keeps K and V of a token in different tiers: frozen keys high, frozen values low, the keys and values of
// the window fixed and tail. Nothing is ever dropped from it, and the token at position p of a window tier stands in
// slot p modulo the window.
#ifndef DECANT_COMMON_KV_ROWS_H_
#define DECANT_COMMON_KV_ROWS_H_

#include <cstdint>

#include "common/kv/format.h"
#include "common/kv/geometry.h"
#include "common/kv/page.h"

namespace decant {

enum TierIndex : int32_t { kHigh = 0, kLow = 1, kFixed = 2, kTail = 3 };
inline constexpr int kTierCount = 4;

// One (sequence, layer, kv head). Two loads of a device read it.
struct alignas(16) HeadState {
  int32_t tokens[kTierCount] = {0, 0, 0, 0};
  int32_t pages[kTierCount] = {0, 0, 0, 0};
};

DECANT_HOST_DEVICE int32_t PagesHeld(const HeadState& head) {
  return head.pages[kHigh] + head.pages[kLow] + head.pages[kFixed] + head.pages[kTail];
}

// Which policy moves tokens between the tiers, or out of them, while decoding.
enum class OnlinePolicy : uint8_t {
  kNone = 0,
  kDiffKvPaper = 1,     // diffkv.md section 2.2
  kDiffKvCode = 2,      // diffkv.md section 2.5
  kHeavyHitter = 3,     // H2O: beyond `limit` tokens the least attended one outside the window leaves
  kSinksAndRecent = 4,  // StreamingLLM: beyond `limit` tokens the oldest one behind the sinks leaves
  kFreeze = 5,          // KIVI: the window of a split row is frozen, keys a window at a time, values one by one
  kDemoteOldest = 6,    // MiKV: the least attended token outside the window moves to the low tier; nothing leaves
  kKeepShare = 7,       // PrefixKV: one token at a fixed distance leaves while a layer holds more than its share
};

// Which of the stored tokens a step reads (Quest): blocks of kStatisticsBlock tokens whose bound on q.k is largest.
struct ReadPolicy {
  int32_t tokens = 0;        // read per head and step, the last block included; 0: all
  int32_t dense_layers = 0;  // the first layers read everything
};

// One sequence; what varies from step to step lives in `heads` and `length`.
struct SequenceRows {
  HeadState* heads = nullptr;   // [layers, kv_heads]
  int32_t* page_ids = nullptr;  // [layers, kv_heads, capacity]
  int32_t* length = nullptr;    // tokens seen so far = position of the next token; one value
  int32_t capacity = 0;
  FormatId formats[kTierCount] = {FormatId::kNone, FormatId::kNone, FormatId::kNone, FormatId::kNone};
  KeyForm key_forms[kTierCount];
  OnlinePolicy policy = OnlinePolicy::kNone;
  float alpha_high = 0;
  float alpha_low = 0;
  int32_t window = 0;  // the newest tokens that no policy touches
  int32_t first_query =
      0;  // queries before this position left no scores: a prompt whose prefix was reused, or the window policy
  int32_t sinks = 0;                      // first positions that no policy touches
  int32_t limit = 0;                      // tokens that a head may hold (kHeavyHitter, kSinksAndRecent)
  const int32_t* layer_limits = nullptr;  // [layers] where the limit differs from layer to layer, else null
  const float* keep_shares = nullptr;     // [layers] of kKeepShare, else null
  const float* balance = nullptr;         // [layers, kv_heads, head_dim] of balanced keys, else null
  ReadPolicy read;
  // Codes in use of each tier's K and V, at least 2; 0: all that the bits can tell apart.
  uint16_t key_levels[kTierCount] = {0, 0, 0, 0};
  uint16_t value_levels[kTierCount] = {0, 0, 0, 0};

  DECANT_HOST_DEVICE bool split() const { return policy == OnlinePolicy::kFreeze; }
};

// The place in a row of page `page` of a tier.
DECANT_HOST_DEVICE int32_t RowPlace(const HeadState& head, int32_t capacity, int32_t tier, int32_t page) {
  if (tier == kFixed) return page;
  if (tier == kTail) return head.pages[kFixed] + page;
  if (tier == kHigh) return head.pages[kFixed] + head.pages[kTail] + page;
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
