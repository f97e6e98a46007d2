// One block for the heads of one layer. Plan: a thread per (head, tier) says what lacks, and the block's prefix sum
// where each finds its own in the ring. Commit: a warp per head, wholly or not at all, up to the first head that has no
// room, as the host does.
#include "gpu/device/block.cuh"
#include "gpu/kernels/pages/page_ops_cuda.h"
#include "gpu/kernels/pages/ring.cuh"

namespace decant {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpLanes;

__device__ int32_t LackingPages(const GrowRowsArgs& args, int32_t head, int32_t tier) {
  const int32_t growth = Load(args.growth + head * kTierCount + tier);
  if (growth <= 0) return 0;
  const HeadState* state = RowOf(*args.rows, args.arena.geometry, args.layer, head).state;
  const int32_t page_tokens = TierLayout(args.arena, *args.rows, tier).tokens;
  const int32_t lacking = PagesFor(Load(state->tokens + tier) + growth, page_tokens) - Load(state->pages + tier);
  return lacking > 0 ? lacking : 0;
}

__device__ bool HasRoom(const GrowRowsArgs& args, int32_t head, int64_t free) {
  const int32_t* offsets = args.scratch + head * kTierCount;
  const int32_t begin = Load(offsets);
  const int32_t end = Load(offsets + kTierCount);
  if (begin == end) return true;
  const HeadRow row = RowOf(*args.rows, args.arena.geometry, args.layer, head);
  return end <= free && PagesHeld(Load(row.state)) + end - begin <= row.capacity;
}

__global__ void __launch_bounds__(kThreads) GrowRowsKernel(const __grid_constant__ GrowRowsArgs args) {
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const int32_t heads = args.arena.geometry.kv_heads;
  int32_t total = 0;
  for (int32_t first = 0; first < heads * kTierCount; first += kThreads) {
    const int32_t i = first + thread;
    const bool mine = i < heads * kTierCount;
    const auto scan = BlockExclusiveScan<kThreads>(mine ? LackingPages(args, i / kTierCount, i % kTierCount) : 0);
    if (mine) Store(args.scratch + i, total + scan.before);
    total += scan.total;
  }
  if (thread == 0) Store(args.scratch + heads * kTierCount, total);
  __syncthreads();

  const uint64_t ring_head = Load(args.ring.head_tail);
  const auto free = static_cast<int64_t>(Load(args.ring.head_tail + 1) - ring_head);
  int32_t stop = heads;
  for (int32_t head = thread; head < heads && stop == heads; head += kThreads) {
    if (!HasRoom(args, head, free)) stop = head;
  }
  stop = BlockReduce<kThreads>(stop, heads, [](int32_t a, int32_t b) { return b < a ? b : a; });

  for (int32_t head = WarpOf(); head < stop; head += kWarps) {
    const int32_t* offsets = args.scratch + head * kTierCount;
    TakenPages taken;
    int32_t next = Load(offsets);
    for (int32_t tier = 0; tier < kTierCount; ++tier) {
      taken.places[tier] = ring_head + static_cast<uint64_t>(next);
      const int32_t end = Load(offsets + tier + 1);
      taken.pages[tier] = end - next;
      next = end;
    }
    const HeadRow row = RowOf(*args.rows, args.arena.geometry, args.layer, head);
    if (next != Load(offsets)) TakePages(args.ring, row, Load(row.state), taken);
  }
  if (thread != 0) return;
  Store(args.ring.head_tail, ring_head + static_cast<uint64_t>(Load(args.scratch + stop * kTierCount)));
  if (stop < heads) Store(args.error, 1);
}

}  // namespace

void GrowRowsCuda(Stream& stream, const GrowRowsArgs& args) {
  DECANT_LAUNCH(GrowRowsKernel, dim3(1), dim3(kThreads), 0, stream, args);
}

}  // namespace decant
