#include <cstring>

#include "gpu/kernels/pages/page_ops_host.h"
#include "gpu/kernels/pages/ring_host.h"
#include "gpu/kernels/pages/slot.h"

namespace decant {

void ResetRingHost(Stream& stream, const PageRing& ring) {
  const HostAccess access(stream);
  for (int32_t id = 0; id < ring.page_count; ++id) ring.ids[id] = id;
  ring.head_tail[0] = 0;
  ring.head_tail[1] = static_cast<uint64_t>(ring.page_count);
}

void AdvanceLengthsHost(Stream& stream, const SequenceRows* rows, int32_t sequences) {
  const HostAccess access(stream);
  for (int32_t s = 0; s < sequences; ++s) ++*rows[s].length;
}

void ReleaseRowsHost(Stream& stream, const PageArena& arena, const PageRing& ring, const SequenceRows* rows,
                     int32_t sequences) {
  const HostAccess access(stream);
  const int32_t heads = arena.geometry.layers * arena.geometry.kv_heads;
  for (int32_t s = 0; s < sequences; ++s) {
    for (int32_t h = 0; h < heads; ++h) {
      const HeadRow row = RowOf(rows[s], arena.geometry, 0, h);
      for (int32_t tier = 0; tier < kTierCount; ++tier) {
        for (int32_t page = 0; page < row.state->pages[tier]; ++page) {
          GivePage(ring, row.page_ids[RowPlace(*row.state, row.capacity, tier, page)]);
        }
      }
      *row.state = HeadState{};
    }
    *rows[s].length = 0;
  }
}

void CountRowsHost(Stream& stream, const PageArena& arena, const SequenceRows* rows, int64_t* out) {
  const HostAccess access(stream);
  std::memset(out, 0, 2 * kTierCount * sizeof(int64_t));
  const int32_t heads = arena.geometry.layers * arena.geometry.kv_heads;
  for (int32_t h = 0; h < heads; ++h) {
    for (int32_t tier = 0; tier < kTierCount; ++tier) {
      out[tier] += rows->heads[h].tokens[tier];
      out[kTierCount + tier] += rows->heads[h].pages[tier];
    }
  }
}

}  // namespace decant
