// The free list as host code sees it.
#ifndef DECANT_GPU_KERNELS_PAGES_RING_HOST_H_
#define DECANT_GPU_KERNELS_PAGES_RING_HOST_H_

#include <cstdint>

#include "common/kv/rows.h"

namespace decant {

inline uint64_t FreePages(const PageRing& ring) { return ring.head_tail[1] - ring.head_tail[0]; }

// The free page `offset` places behind the head; taking it is moving the head past it.
inline int32_t FreePageAt(const PageRing& ring, uint64_t offset) {
  return ring.ids[(ring.head_tail[0] + offset) % static_cast<uint64_t>(ring.page_count)];
}

inline void GivePage(const PageRing& ring, int32_t id) {
  ring.ids[ring.head_tail[1]++ % static_cast<uint64_t>(ring.page_count)] = id;
}

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_PAGES_RING_HOST_H_
