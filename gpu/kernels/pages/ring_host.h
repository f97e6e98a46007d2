// The free list as host code sees it.
#ifndef DECANT_GPU_KERNELS_PAGES_RING_HOST_H_
#define DECANT_GPU_KERNELS_PAGES_RING_HOST_H_

#include <cstdint>
#include <cstring>

#include "common/kv/rows.h"
#include "gpu/kernels/pages/slot.h"

namespace decant {

inline uint64_t FreePages(const PageRing& ring) { return ring.head_tail[1] - ring.head_tail[0]; }

// The free page `offset` places behind the head; taking it is moving the head past it.
inline int32_t FreePageAt(const PageRing& ring, uint64_t offset) {
  return ring.ids[(ring.head_tail[0] + offset) % static_cast<uint64_t>(ring.page_count)];
}

inline void GivePage(const PageRing& ring, int32_t id) {
  ring.ids[ring.head_tail[1]++ % static_cast<uint64_t>(ring.page_count)] = id;
}

// Gives a tier of a row `count` pages from `offset` places behind the head on; moving the head is the caller's. What
// stands behind a run at the front moves to make room for it. The row has the places.
inline void TakePages(const PageRing& ring, const HeadRow& row, int32_t tier, int32_t count, uint64_t offset) {
  HeadState& state = *row.state;
  if (count > 0 && (tier == kFixed || tier == kTail)) {
    int32_t* const end = row.page_ids + RowPlace(state, row.capacity, tier, state.pages[tier]);
    const int32_t front = state.pages[kFixed] + state.pages[kTail] + state.pages[kHigh];
    std::memmove(end + count, end, static_cast<size_t>(row.page_ids + front - end) * sizeof(int32_t));
    for (int32_t i = 0; i < count; ++i) end[i] = FreePageAt(ring, offset + static_cast<uint64_t>(i));
    state.pages[tier] += count;
    return;
  }
  for (int32_t i = 0; i < count; ++i) {
    row.page_ids[RowPlace(state, row.capacity, tier, state.pages[tier])] =
        FreePageAt(ring, offset + static_cast<uint64_t>(i));
    ++state.pages[tier];
  }
}

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_PAGES_RING_HOST_H_
