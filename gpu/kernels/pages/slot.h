// Where a token stands in memory: the address arithmetic of rows and pages, for host and device.
#ifndef DECANT_GPU_KERNELS_PAGES_SLOT_H_
#define DECANT_GPU_KERNELS_PAGES_SLOT_H_

#include <cstdint>

#include "common/base/host_device.h"
#include "common/kv/rows.h"

namespace decant {

// The row of one (sequence, layer, kv head).
struct HeadRow {
  HeadState* state;
  int32_t* page_ids;
  int32_t capacity;
};

DECANT_HOST_DEVICE HeadRow RowOf(const SequenceRows& rows, const Geometry& geometry, int32_t layer, int32_t head) {
  const int64_t index = int64_t{layer} * geometry.kv_heads + head;
  return HeadRow{rows.heads + index, rows.page_ids + index * rows.capacity, rows.capacity};
}

// The head's factors of balanced keys, else null.
DECANT_HOST_DEVICE const float* BalanceOf(const SequenceRows& rows, const Geometry& geometry, int32_t layer,
                                          int32_t head) {
  if (rows.balance == nullptr) return nullptr;
  return rows.balance + (int64_t{layer} * geometry.kv_heads + head) * geometry.head_dim;
}

DECANT_HOST_DEVICE uint8_t* PageAt(const PageArena& arena, const HeadRow& row, int32_t tier, int32_t page) {
  return arena.pages + row.page_ids[RowPlace(*row.state, row.capacity, tier, page)] * arena.page_bytes;
}

DECANT_HOST_DEVICE int32_t PagesFor(int32_t tokens, int32_t page_tokens) {
  return (tokens + page_tokens - 1) / page_tokens;
}

DECANT_HOST_DEVICE const PageLayout& TierLayout(const PageArena& arena, const SequenceRows& rows, int32_t tier) {
  return arena.layouts[static_cast<int32_t>(rows.formats[tier])];
}

// One token of a page.
struct TokenSlot {
  uint8_t* keys;
  uint8_t* key_meta;
  uint8_t* values;
  uint8_t* value_meta;
  float* score;       // only of tracked formats
  int32_t* position;  // only of tracked formats
};

DECANT_HOST_DEVICE TokenSlot SlotAt(const PageArena& arena, const HeadRow& row, FormatId id, int32_t tier,
                                    int32_t slot) {
  const PageLayout& layout = arena.layouts[static_cast<int32_t>(id)];
  const Format format = FormatOf(id);
  const int32_t head_dim = arena.geometry.head_dim;
  uint8_t* page = PageAt(arena, row, tier, slot / layout.tokens);
  const int32_t token = slot % layout.tokens;
  return TokenSlot{page + layout.keys + token * VectorBytes(format.k, head_dim),
                   page + layout.key_meta + token * MetaBytes(format.k, head_dim),
                   page + layout.values + token * VectorBytes(format.v, head_dim),
                   page + layout.value_meta + token * MetaBytes(format.v, head_dim),
                   reinterpret_cast<float*>(page + layout.scores) + token,
                   reinterpret_cast<int32_t*>(page + layout.positions) + token};
}

// The group's pairs of channel elements: those of the group that `slot` is in.
DECANT_HOST_DEVICE uint8_t* ChannelPairsAt(const PageArena& arena, const HeadRow& row, FormatId id, int32_t tier,
                                           int32_t slot) {
  const PageLayout& layout = arena.layouts[static_cast<int32_t>(id)];
  const int32_t group = slot % layout.tokens / kTokenGroup;
  return PageAt(arena, row, tier, slot / layout.tokens) + layout.key_meta +
         int64_t{group} * 4 * arena.geometry.head_dim;
}

// The statistics entry of the block that `slot` is in.
DECANT_HOST_DEVICE uint8_t* StatisticsAt(const PageArena& arena, const HeadRow& row, FormatId id, int32_t tier,
                                         int32_t slot) {
  const PageLayout& layout = arena.layouts[static_cast<int32_t>(id)];
  const int32_t block = slot % layout.tokens / kStatisticsBlock;
  return PageAt(arena, row, tier, slot / layout.tokens) + layout.statistics +
         int64_t{block} * 4 * arena.geometry.head_dim;
}

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_PAGES_SLOT_H_
