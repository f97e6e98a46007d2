// The ring's beginning, the pages that come back to it, and what is counted over a sequence's rows.
//
// Release: pages go back in the order sequence, layer, head, tier, page, as on the host. A warp copies a head's ids to
// the place behind all pages of the heads before it, which each block sums up for itself: 16 bytes a head, against ids
// of 4 bytes a page. Rows are zeroed by a second launch, when every block has read them.
#include "gpu/device/block.cuh"
#include "gpu/kernels/pages/page_ops_cuda.h"
#include "gpu/kernels/pages/ring.cuh"

namespace decant {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpLanes;

unsigned BlocksFor(int64_t items, int64_t per_block) {
  return static_cast<unsigned>((items + per_block - 1) / per_block);
}

__global__ void __launch_bounds__(kThreads) ResetRingKernel(PageRing ring) {
  const auto id = static_cast<int32_t>(blockIdx.x * blockDim.x + threadIdx.x);
  if (id < ring.page_count) Store(ring.ids + id, id);
  if (id >= 2) return;
  Store(ring.head_tail + id, id == 0 ? uint64_t{0} : static_cast<uint64_t>(ring.page_count));
}

__global__ void __launch_bounds__(kThreads) AdvanceLengthsKernel(const SequenceRows* rows, int32_t sequences) {
  const auto s = static_cast<int32_t>(blockIdx.x * blockDim.x + threadIdx.x);
  if (s >= sequences) return;
  int32_t* const length = Load(&rows[s].length);
  Store(length, Load(length) + 1);
}

// The state of a head of [sequences, heads].
__device__ HeadState* StateOf(const SequenceRows* rows, int64_t index, int32_t heads) {
  return Load(&rows[index / heads].heads) + index % heads;
}

// The page a head holds at `place` of its own order: tier after tier.
__device__ int32_t HeldPage(const SequenceRows& rows, const HeadState& state, int32_t head, int32_t place) {
  int32_t tier = 0;
  for (int32_t before = 0; before < kTierCount - 1; ++before) {
    if (tier != before || place < state.pages[before]) continue;
    place -= state.pages[before];
    ++tier;
  }
  const int32_t capacity = Load(&rows.capacity);
  return Load(Load(&rows.page_ids) + int64_t{head} * capacity + RowPlace(state, capacity, tier, place));
}

__global__ void __launch_bounds__(kThreads)
    GivePagesKernel(const __grid_constant__ PageRing ring, const SequenceRows* rows, int64_t total, int32_t heads) {
  const int64_t first = int64_t{blockIdx.x} * kWarps;
  int64_t before = 0;
  for (int64_t i = threadIdx.x; i < first; i += kThreads) before += PagesHeld(Load(StateOf(rows, i, heads)));
  before = BlockSum<kThreads>(before);

  __shared__ int32_t held[kWarps];
  const int64_t index = first + WarpOf();
  HeadState state;
  if (index < total) state = Load(StateOf(rows, index, heads));
  const int32_t mine = PagesHeld(state);
  if (LaneOf() == 0) held[WarpOf()] = mine;
  __syncthreads();
  for (int32_t warp = 0; warp < WarpOf(); ++warp) before += held[warp];

  const uint64_t tail = Load(ring.head_tail + 1) + static_cast<uint64_t>(before);
  for (int32_t place = LaneOf(); place < mine; place += kWarpLanes) {
    const int32_t id = HeldPage(rows[index / heads], state, static_cast<int32_t>(index % heads), place);
    Store(ring.ids + (tail + static_cast<uint64_t>(place)) % static_cast<uint64_t>(ring.page_count), id);
  }
}

// One block: the ring's tail moves by all pages that were held.
__global__ void __launch_bounds__(kThreads)
    ClearRowsKernel(PageRing ring, const SequenceRows* rows, int32_t sequences, int32_t heads) {
  const int64_t total = int64_t{sequences} * heads;
  int64_t pages = 0;
  for (int64_t i = threadIdx.x; i < total; i += kThreads) {
    HeadState* const state = StateOf(rows, i, heads);
    pages += PagesHeld(Load(state));
    Store(state, HeadState{});
  }
  pages = BlockSum<kThreads>(pages);
  if (threadIdx.x == 0) Store(ring.head_tail + 1, Load(ring.head_tail + 1) + static_cast<uint64_t>(pages));
  for (auto s = static_cast<int32_t>(threadIdx.x); s < sequences; s += kThreads) Store(Load(&rows[s].length), 0);
}

// One block. A head's state is tokens by tier and pages by tier, in the order of `out`: a thread always meets the same
// one of them.
__global__ void __launch_bounds__(kThreads) CountRowsKernel(const SequenceRows* rows, int32_t heads, int64_t* out) {
  constexpr int32_t kCounts = 2 * kTierCount;
  static_assert(sizeof(HeadState) == kCounts * sizeof(int32_t) && kThreads % kCounts == 0);
  const auto* counts = reinterpret_cast<const int32_t*>(Load(&rows->heads));
  const auto thread = static_cast<int32_t>(threadIdx.x);
  int64_t sum = 0;
  for (int32_t i = thread; i < heads * kCounts; i += kThreads) sum += Load(counts + i);
  __shared__ int64_t sums[kThreads];
  sums[thread] = sum;
  __syncthreads();
  if (thread >= kCounts) return;
  for (int32_t other = thread + kCounts; other < kThreads; other += kCounts) sum += sums[other];
  Store(out + thread, sum);
}

}  // namespace

void ResetRingCuda(Stream& stream, const PageRing& ring) {
  const int32_t threads = ring.page_count < 2 ? 2 : ring.page_count;
  DECANT_LAUNCH(ResetRingKernel, dim3(BlocksFor(threads, kThreads)), dim3(kThreads), 0, stream, ring);
}

void AdvanceLengthsCuda(Stream& stream, const SequenceRows* rows, int32_t sequences) {
  DECANT_LAUNCH(AdvanceLengthsKernel, dim3(BlocksFor(sequences, kThreads)), dim3(kThreads), 0, stream, rows, sequences);
}

void ReleaseRowsCuda(Stream& stream, const PageArena& arena, const PageRing& ring, const SequenceRows* rows,
                     int32_t sequences) {
  const int32_t heads = arena.geometry.layers * arena.geometry.kv_heads;
  const int64_t total = int64_t{sequences} * heads;
  if (total == 0) return;
  DECANT_LAUNCH(GivePagesKernel, dim3(BlocksFor(total, kWarps)), dim3(kThreads), 0, stream, ring, rows, total, heads);
  DECANT_LAUNCH(ClearRowsKernel, dim3(1), dim3(kThreads), 0, stream, ring, rows, sequences, heads);
}

void CountRowsCuda(Stream& stream, const PageArena& arena, const SequenceRows* rows, int64_t* out) {
  const int32_t heads = arena.geometry.layers * arena.geometry.kv_heads;
  DECANT_LAUNCH(CountRowsKernel, dim3(1), dim3(kThreads), 0, stream, rows, heads, out);
}

}  // namespace decant
