// Three launches. Plan: every head's scores are scanned and its action decided. Scan: one block sums up the pages that
// heads want, in the order sequence, layer, head, high before low, and finds the first head that cannot have them.
// Commit: a thread per head takes them. Page ids are the host's.
//
// Bytes: 8 a stored token of heads with a policy, 16 a head each for its state, its needs (twice) and its action. The
// scan of one block reads 8 bytes a head with the next ones under way: 1024 heads a round of a few hundred nanoseconds.
#include "common/base/half.h"
#include "common/compress/arith/online_step.h"
#include "gpu/device/block.cuh"
#include "gpu/kernels/pages/page_ops_cuda.h"
#include "gpu/kernels/pages/ring.cuh"
#include "gpu/kernels/pages/split_step.h"

namespace decant {
namespace {

constexpr int kPlanThreads = 128;
// The one block of the scan: more threads take fewer rounds, fewer threads shorter ones.
constexpr int kScanThreads = 1024;
constexpr int kShortScanThreads = 128;
constexpr int kCommitThreads = 128;
// With fewer heads than this a head gets a whole block: a device of 132 processors holds 8448 warps.
constexpr int64_t kManyHeads = 4096;

// Of a head: a page more for a row that has no place for it. Pages of a step are far fewer.
constexpr int32_t kNoPlace = 1 << 30;

// What stands in scratch behind the offsets [heads * 2] of PlanStepScratch.
struct PlanTotals {
  int32_t* words;  // pages wanted, the first head that cannot have them, pages taken
  __device__ int32_t* wanted() const { return words; }
  __device__ int32_t* stop() const { return words + 1; }
  __device__ int32_t* taken() const { return words + 2; }
};

__device__ PlanTotals TotalsOf(const PlanStepArgs& args, int64_t heads) { return PlanTotals{args.scratch + heads * 2}; }

// In one exchange: the slot, which may be -1, in 31 bits and `may_leave` above it.
__device__ __forceinline__ Weakest Exchanged(const Weakest& weakest, int step) {
  const uint32_t low = (static_cast<uint32_t>(weakest.slot) & 0x7fffffffu) | (weakest.may_leave ? 0x80000000u : 0u);
  const unsigned long long both = static_cast<unsigned long long>(FloatBits(weakest.mean)) << 32 | low;
  const unsigned long long other = __shfl_xor_sync(kAllLanes, both, step);
  const auto other_low = static_cast<uint32_t>(other);
  return Weakest{BitsToFloat(static_cast<uint32_t>(other >> 32)), static_cast<int32_t>(other_low << 1) >> 1,
                 (other_low >> 31) != 0};
}

// Merges the scans of the warp's lanes; all get the result. Only what the policy looks at travels.
__device__ void MergeOverWarp(OnlinePolicy policy, StepScan& scan) {
  for (int step = kWarpLanes / 2; step > 0; step /= 2) {
    StepScan other;
    if (HoldsToALimit(policy)) {
      other.victim.rank = __shfl_xor_sync(kAllLanes, scan.victim.rank, step);
      other.victim.position = __shfl_xor_sync(kAllLanes, scan.victim.position, step);
      other.victim.slot = __shfl_xor_sync(kAllLanes, scan.victim.slot, step);
    } else {
      other.high = Exchanged(scan.high, step);
      other.low = Exchanged(scan.low, step);
      other.candidate = Exchanged(scan.candidate, step);
    }
    MergeScan(scan, other);
  }
}

// Thread `thread` of `threads` shows its share of a tier to the scan.
__device__ void ScanTier(const PlanStepArgs& args, const SequenceRows& rows, const HeadRow& row, const HeadState& state,
                         const StepHead& head, int32_t tier, int32_t thread, int32_t threads, StepScan& scan) {
  const PageLayout& layout = TierLayout(args.arena, rows, tier);
  int32_t page = 0;
  int32_t in_page = thread;
  for (int32_t slot = thread; slot < head.tokens[tier]; slot += threads, in_page += threads) {
    while (in_page >= layout.tokens) {
      in_page -= layout.tokens;
      ++page;
    }
    const int32_t id = Load(row.page_ids + RowPlace(state, row.capacity, tier, page));
    uint8_t* const bytes = args.arena.pages + id * args.arena.page_bytes;
    auto* const score = reinterpret_cast<float*>(bytes + layout.scores) + in_page;
    const int32_t position = Load(reinterpret_cast<const int32_t*>(bytes + layout.positions) + in_page);
    float sum = Load(score);
    if (head.policy == OnlinePolicy::kDiffKvPaper && position == head.position - 1) {
      sum = 0;
      Store(score, sum);
    }
    ScanToken(head, tier, slot, position, sum, scan);
  }
}

// Whether the action's fresh slot opens a new page of its tier (defect D5: nothing else takes one).
__device__ bool OpensPage(const PlanStepArgs& args, const SequenceRows& rows, int32_t tokens, int32_t pages,
                          int32_t tier, int32_t slot) {
  return slot == tokens && slot == pages * TierLayout(args.arena, rows, tier).tokens;
}

// By the thread that decides for the head. wants: pages of the high and the low tier; of a split row all of them first.
__device__ void Decide(const PlanStepArgs& args, const SequenceRows& rows, const HeadRow& row, const HeadState& state,
                       const StepHead& head, const StepScan& scan, int64_t index) {
  StepAction action;
  int32_t wants[2] = {0, 0};
  if (rows.split()) {
    action.high_slot = head.position % rows.window;
    const SplitPages taken = SplitPagesOf(args.arena, rows, state);
    wants[0] = taken.pages[kHigh] + taken.pages[kLow] + taken.pages[kFixed] + taken.pages[kTail];
  } else {
    action = DecideStep(head, scan).action;
    wants[kHigh] = OpensPage(args, rows, state.tokens[kHigh], state.pages[kHigh], kHigh, action.high_slot) ? 1 : 0;
    wants[kLow] =
        action.demote_to >= 0 && OpensPage(args, rows, state.tokens[kLow], state.pages[kLow], kLow, action.demote_to)
            ? 1
            : 0;
  }
  const int32_t wanted = wants[0] + wants[1];
  if (wanted > 0 && PagesHeld(state) + wanted > row.capacity) wants[1] |= kNoPlace;
  Store(&args.actions[index].high_slot, action.high_slot);
  Store(&args.actions[index].demote_to, action.demote_to);
  Store(args.scratch + index * 2, wants[0]);
  Store(args.scratch + index * 2 + 1, wants[1]);
}

// kHeadThreads: how many threads scan one head, a warp or a block.
template <int kHeadThreads>
__global__ void __launch_bounds__(kPlanThreads) PlanHeadsKernel(const __grid_constant__ PlanStepArgs args) {
  constexpr int kWarps = kPlanThreads / kWarpLanes;
  const int32_t heads = args.arena.geometry.layers * args.arena.geometry.kv_heads;
  const int64_t index = int64_t{blockIdx.x} * (kPlanThreads / kHeadThreads) + threadIdx.x / kHeadThreads;
  const bool is_head = index < int64_t{args.sequences} * heads;
  if (kHeadThreads == kWarpLanes && !is_head) return;
  const SequenceRows& rows = args.rows[index / heads];
  const auto in_sequence = static_cast<int32_t>(index % heads);
  const HeadRow row = RowOf(rows, args.arena.geometry, 0, in_sequence);
  const HeadState state = Load(row.state);
  const StepHead head = StepHeadOf(rows, state, in_sequence / args.arena.geometry.kv_heads);
  const auto thread = static_cast<int32_t>(threadIdx.x % kHeadThreads);
  StepScan scan;
  if (!rows.split() && rows.policy != OnlinePolicy::kNone) {
    ScanTier(args, rows, row, state, head, kHigh, thread, kHeadThreads, scan);
    ScanTier(args, rows, row, state, head, kLow, thread, kHeadThreads, scan);
    MergeOverWarp(rows.policy, scan);
    if (kHeadThreads > kWarpLanes) {
      __shared__ StepScan parts[kWarps];
      if (LaneOf() == 0) parts[WarpOf()] = scan;
      __syncthreads();
      for (int warp = 0; thread == 0 && warp < kWarps; ++warp) MergeScan(scan, parts[warp]);
    }
  }
  if (thread == 0) Decide(args, rows, row, state, head, scan, index);
}

template <int kThreads>
__global__ void __launch_bounds__(kThreads) ScanPagesKernel(const __grid_constant__ PlanStepArgs args, int64_t heads) {
  const PlanTotals totals = TotalsOf(args, heads);
  const uint64_t ring_head = Load(args.ring.head_tail);
  const auto free = static_cast<int64_t>(Load(args.ring.head_tail + 1) - ring_head);
  auto* const pairs = reinterpret_cast<uint2*>(args.scratch);  // [heads]
  const auto thread = static_cast<int64_t>(threadIdx.x);
  int32_t total = 0;
  auto stop = static_cast<int32_t>(heads);
  uint2 next = thread < heads ? Load(pairs + thread) : make_uint2(0, 0);
  for (int64_t first = 0; first < heads; first += kThreads) {
    const int64_t index = first + thread;
    const auto high = static_cast<int32_t>(next.x);
    const auto low = static_cast<int32_t>(next.y) & ~kNoPlace;
    const bool no_place = (static_cast<int32_t>(next.y) & kNoPlace) != 0;
    if (index + kThreads < heads) next = Load(pairs + index + kThreads);
    const auto scan = BlockExclusiveScan<kThreads>(index < heads ? high + low : 0);
    const int32_t begin = total + scan.before;
    if (index < heads) {
      Store(pairs + index, make_uint2(static_cast<unsigned>(begin), static_cast<unsigned>(begin + high)));
      const bool fails = high + low > 0 && (no_place || begin + high + low > free);
      if (fails && index < stop) stop = static_cast<int32_t>(index);
    }
    total += scan.total;
  }
  stop = BlockReduce<kThreads>(stop, static_cast<int32_t>(heads), [](int32_t a, int32_t b) { return b < a ? b : a; });
  if (thread != 0) return;
  // Later heads get nothing either, so that what is taken is without gaps.
  const int32_t taken = stop < heads ? static_cast<int32_t>(Load(pairs + stop).x) : total;
  Store(totals.wanted(), total);
  Store(totals.stop(), stop);
  Store(totals.taken(), taken);
  Store(args.ring.head_tail, ring_head + static_cast<uint64_t>(taken));
  if (stop < heads) Store(args.error, 1);
}

// One page for a tier at the end of the row that nothing has to move for.
__device__ void TakePage(const PageRing& ring, const HeadRow& row, HeadState& state, int32_t tier, uint64_t place) {
  Store(row.page_ids + RowPlace(state, row.capacity, tier, state.pages[tier]), RingId(ring, place));
  ++state.pages[tier];
}

// The pages of a split row, in the order of the ring; all lanes of one warp.
__device__ void TakeSplitPages(const PlanStepArgs& args, const SequenceRows& rows, const HeadRow& row,
                               const HeadState& state, uint64_t place) {
  const SplitPages wanted = SplitPagesOf(args.arena, rows, state);
  TakenPages taken;
  for (const int32_t tier : {kFixed, kTail, kHigh, kLow}) {
    taken.pages[tier] = wanted.pages[tier];
    taken.places[tier] = place;
    place += static_cast<uint64_t>(wanted.pages[tier]);
  }
  TakePages(args.ring, row, state, taken);
}

// Adds each lane's count, 0 or 1, to its sequence's.
__device__ void AddMoved(int64_t* moved, int32_t sequence, int32_t column, bool mine) {
  const uint32_t peers = __match_any_sync(kAllLanes, sequence);
  const uint32_t votes = __ballot_sync(kAllLanes, mine ? 1 : 0) & peers;
  const bool first = __ffs(peers) - 1 == LaneOf();
  if (!first || votes == 0) return;
  atomicAdd(reinterpret_cast<unsigned long long*>(moved + int64_t{sequence} * 2 + column),
            static_cast<unsigned long long>(__popc(votes)));
}

__global__ void __launch_bounds__(kCommitThreads)
    CommitPagesKernel(const __grid_constant__ PlanStepArgs args, int64_t total_heads) {
  const PlanTotals totals = TotalsOf(args, total_heads);
  const int32_t heads = args.arena.geometry.layers * args.arena.geometry.kv_heads;
  const int64_t index = int64_t{blockIdx.x} * kCommitThreads + threadIdx.x;
  const bool is_head = index < total_heads;
  const int32_t sequence = is_head ? static_cast<int32_t>(index / heads) : -1;
  const uint64_t ring_head = Load(args.ring.head_tail) - static_cast<uint64_t>(Load(totals.taken()));
  const int32_t stop = Load(totals.stop());

  bool takes_split = false;
  bool demotes = false;
  bool overwrites = false;
  uint64_t place = 0;
  if (is_head) {
    const SequenceRows& rows = args.rows[sequence];
    const HeadRow row = RowOf(rows, args.arena.geometry, 0, static_cast<int32_t>(index % heads));
    const int32_t* const offsets = args.scratch + index * 2;
    const int32_t begin = Load(offsets);
    const int32_t middle = Load(offsets + 1);
    const int32_t end = Load(offsets + 2);
    place = ring_head + static_cast<uint64_t>(begin);
    HeadState state = Load(row.state);
    if (begin < end && index >= stop) {
      Store(&args.actions[index].high_slot, -1);
      Store(&args.actions[index].demote_to, -1);
    } else if (rows.split()) {
      takes_split = begin < end;
      demotes = SplitGrowthOf(state, rows.window).tokens[kLow] > 0;
    } else {
      const int32_t high_slot = Load(&args.actions[index].high_slot);
      const int32_t demote_to = Load(&args.actions[index].demote_to);
      demotes = demote_to >= 0;
      overwrites = demotes ? demote_to < state.tokens[kLow] : high_slot < state.tokens[kHigh];
      if (begin < middle) TakePage(args.ring, row, state, kHigh, place);
      if (middle < end) TakePage(args.ring, row, state, kLow, ring_head + static_cast<uint64_t>(middle));
      if (begin < end) Store(row.state, state);
    }
  }
  AddMoved(args.moved, sequence, 0, demotes);
  AddMoved(args.moved, sequence, 1, overwrites);

  // A split row's pages may move others: the warp does it for one head after the other.
  for (uint32_t left = __ballot_sync(kAllLanes, takes_split ? 1 : 0); left != 0; left &= left - 1) {
    const int lane = __ffs(left) - 1;
    const int64_t other = index - LaneOf() + lane;
    const SequenceRows& rows = args.rows[other / heads];
    const HeadRow row = RowOf(rows, args.arena.geometry, 0, static_cast<int32_t>(other % heads));
    TakeSplitPages(args, rows, row, Load(row.state), __shfl_sync(kAllLanes, place, lane));
  }
}

}  // namespace

void PlanStepCuda(Stream& stream, const PlanStepArgs& args) {
  const int64_t heads = int64_t{args.sequences} * args.arena.geometry.layers * args.arena.geometry.kv_heads;
  if (heads == 0) return;
  constexpr int64_t kHeadsPerBlock = kPlanThreads / kWarpLanes;
  const auto blocks = [](int64_t items, int64_t per_block) {
    return dim3(static_cast<unsigned>((items + per_block - 1) / per_block));
  };
  if (heads >= kManyHeads) {
    DECANT_LAUNCH((PlanHeadsKernel<kWarpLanes>), blocks(heads, kHeadsPerBlock), dim3(kPlanThreads), 0, stream, args);
  } else {
    DECANT_LAUNCH((PlanHeadsKernel<kPlanThreads>), blocks(heads, 1), dim3(kPlanThreads), 0, stream, args);
  }
  if (heads > kShortScanThreads) {
    DECANT_LAUNCH((ScanPagesKernel<kScanThreads>), dim3(1), dim3(kScanThreads), 0, stream, args, heads);
  } else {
    DECANT_LAUNCH((ScanPagesKernel<kShortScanThreads>), dim3(1), dim3(kShortScanThreads), 0, stream, args, heads);
  }
  DECANT_LAUNCH(CommitPagesKernel, blocks(heads, kCommitThreads), dim3(kCommitThreads), 0, stream, args, heads);
}

}  // namespace decant
