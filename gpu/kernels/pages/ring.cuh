// The free list and the rows as kernels see them.
#ifndef DECANT_GPU_KERNELS_PAGES_RING_CUH_
#define DECANT_GPU_KERNELS_PAGES_RING_CUH_

#include <cstdint>

#include "common/kv/rows.h"
#include "gpu/device/cuda_kernel.h"
#include "gpu/device/warp.cuh"
#include "gpu/kernels/pages/slot.h"

namespace decant {

// The id at `place` of the ring; places only grow.
__device__ __forceinline__ int32_t RingId(const PageRing& ring, uint64_t place) {
  return Load(ring.ids + place % static_cast<uint64_t>(ring.page_count));
}

// What a head gets: so many pages for each tier, from these places of the ring on.
struct TakenPages {
  int32_t pages[kTierCount] = {0, 0, 0, 0};
  uint64_t places[kTierCount] = {0, 0, 0, 0};
};

// Moves ids [begin, end) of a row `by` places to the right; all lanes of one warp.
__device__ inline void ShiftIds(int32_t* ids, int32_t begin, int32_t end, int32_t by) {
  if (by == 0) return;
  // From the end on, so that nothing is written over that was not read yet.
  for (int32_t last = end - 1; last >= begin; last -= kWarpLanes) {
    const int32_t at = last - LaneOf();
    const int32_t id = at >= begin ? Load(ids + at) : 0;
    __syncwarp();
    if (at >= begin) Store(ids + at + by, id);
    __syncwarp();
  }
}

// Gives the head its pages; all lanes of one warp. What stands behind a run at the front moves to make room for it. The
// row has the places.
__device__ inline void TakePages(const PageRing& ring, const HeadRow& row, const HeadState& before,
                                 const TakenPages& taken) {
  const int32_t tail = before.pages[kFixed];
  const int32_t high = tail + before.pages[kTail];
  ShiftIds(row.page_ids, high, high + before.pages[kHigh], taken.pages[kFixed] + taken.pages[kTail]);
  ShiftIds(row.page_ids, tail, high, taken.pages[kFixed]);
  HeadState after = before;
  for (int32_t tier = 0; tier < kTierCount; ++tier) after.pages[tier] += taken.pages[tier];
  for (int32_t tier = 0; tier < kTierCount; ++tier) {
    for (int32_t i = LaneOf(); i < taken.pages[tier]; i += kWarpLanes) {
      Store(row.page_ids + RowPlace(after, row.capacity, tier, before.pages[tier] + i),
            RingId(ring, taken.places[tier] + static_cast<uint64_t>(i)));
    }
  }
  __syncwarp();
  if (LaneOf() == 0) Store(row.state, after);
}

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_PAGES_RING_CUH_
