// Plan: pages every (head, tier) lacks. Prefix sum: where each finds its own in the ring. Commit: heads in order, each
// wholly or not at all, so that the same rows and ring always give the same tables.
#include "common/base/check.h"
#include "gpu/kernels/pages/page_ops_host.h"
#include "gpu/kernels/pages/ring_host.h"
#include "gpu/kernels/pages/slot.h"

namespace decant {
namespace {

int32_t LackingPages(const GrowRowsArgs& args, const HeadState& state, int32_t head, int32_t tier) {
  const int32_t growth = args.growth[head * kTierCount + tier];
  if (growth == 0) return 0;
  const int32_t page_tokens = TierLayout(args.arena, *args.rows, tier).tokens;
  DECANT_CHECK_MSG(growth > 0 && page_tokens > 0, "tier %d of head %d grows by %d tokens of %d a page", tier, head,
                   growth, page_tokens);
  const int32_t lacking = PagesFor(state.tokens[tier] + growth, page_tokens) - state.pages[tier];
  return lacking > 0 ? lacking : 0;
}

void CommitHead(const PageRing& ring, const HeadRow& row, const int32_t* offsets) {
  for (const int32_t tier : {kFixed, kTail, kHigh, kLow}) {
    TakePages(ring, row, tier, offsets[tier + 1] - offsets[tier], static_cast<uint64_t>(offsets[tier]));
  }
}

}  // namespace

void GrowRowsHost(Stream& stream, const GrowRowsArgs& args) {
  const HostAccess access(stream);
  const int32_t heads = args.arena.geometry.kv_heads;
  int32_t total = 0;
  for (int32_t head = 0; head < heads; ++head) {
    const HeadRow row = RowOf(*args.rows, args.arena.geometry, args.layer, head);
    for (int32_t tier = 0; tier < kTierCount; ++tier) {
      args.scratch[head * kTierCount + tier] = total;
      total += LackingPages(args, *row.state, head, tier);
    }
  }
  args.scratch[heads * kTierCount] = total;

  const auto free = static_cast<int64_t>(FreePages(args.ring));
  int32_t taken = 0;
  for (int32_t head = 0; head < heads; ++head) {
    const HeadRow row = RowOf(*args.rows, args.arena.geometry, args.layer, head);
    const int32_t* offsets = args.scratch + head * kTierCount;
    const int32_t needed = offsets[kTierCount] - offsets[0];
    if (needed == 0) continue;
    if (offsets[kTierCount] > free || PagesHeld(*row.state) + needed > row.capacity) {
      *args.error = 1;
      break;
    }
    CommitHead(args.ring, row, offsets);
    taken = offsets[kTierCount];
  }
  args.ring.head_tail[0] += static_cast<uint64_t>(taken);
}

}  // namespace decant
