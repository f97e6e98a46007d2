// Demotion and pruning of a whole sequence's high tokens, as a chain of launches without a look from the host.
//
// Count: a block a head counts what moves. Plan: one block leaves out, in head order, the heads whose pages would not
// suffice, and gives every other head its places behind the ring's tail and head. Then waves of heads: Stage re-encodes
// the low tokens into scratch, closes up the high ones and gives emptied pages to the ring; Write takes pages and
// copies the staged tokens. A page that a head takes was free before or given by a head before it, so that no wave
// reads what a later one still holds; the ring is what the host's head-by-head order makes of it.
#include "common/compress/arith/prompt_tier.h"
#include "gpu/device/block.cuh"
#include "gpu/device/cuda_kernel.h"
#include "gpu/kernels/codec/codec_cuda.h"
#include "gpu/kernels/codec/vectors_on_warp.cuh"
#include "gpu/kernels/pages/slot.h"

namespace decant {
namespace {

constexpr int kSettleThreads = 256;
constexpr int32_t kSettleTile = 64;  // tokens that are sorted at once
// Staging bounds the scratch; a wave still fills half the multiprocessors of a large device.
constexpr int32_t kWaveHeads = 64;

// What one head does; ring places count from the ring's ends before the operation.
struct HeadMove {
  int32_t low;
  int32_t dropped;
  int32_t gives_before;
  int32_t takes_before;
};
struct RingEnds {
  uint64_t head;
  uint64_t tail;
};

DECANT_HOST_DEVICE int32_t HeadsOf(const Geometry& geometry) { return geometry.layers * geometry.kv_heads; }
DECANT_HOST_DEVICE int64_t PlanBytes(const Geometry& geometry) {
  return int64_t{16} + HeadsOf(geometry) * static_cast<int64_t>(sizeof(HeadMove));
}
DECANT_HOST_DEVICE int32_t WaveHeads(const Geometry& geometry) {
  return HeadsOf(geometry) < kWaveHeads ? HeadsOf(geometry) : kWaveHeads;
}
// A head's staged tokens, laid out like one long page.
DECANT_HOST_DEVICE PageLayout StagedLayout(FormatId low, int32_t head_dim, int32_t most_high_tokens) {
  return LayoutFor(low, head_dim, most_high_tokens);
}

__device__ __forceinline__ RingEnds* EndsOf(const SettleRowsArgs& args) { return static_cast<RingEnds*>(args.scratch); }
__device__ __forceinline__ HeadMove* MovesOf(const SettleRowsArgs& args) {
  return reinterpret_cast<HeadMove*>(static_cast<uint8_t*>(args.scratch) + 16);
}
__device__ __forceinline__ uint8_t* StagedOf(const SettleRowsArgs& args, int32_t place) {
  const int64_t bytes = StagedLayout(args.low, args.arena.geometry.head_dim, args.most_high_tokens).end;
  return static_cast<uint8_t*>(args.scratch) + PlanBytes(args.arena.geometry) + place * bytes;
}

__device__ __forceinline__ PromptPolicy PolicyOf(const SettleRowsArgs& args) {
  PromptPolicy policy;
  policy.allocation = args.allocation;
  policy.source = args.source;
  policy.alpha_high = args.rows->alpha_high;
  policy.alpha_low = args.rows->alpha_low;
  policy.window = args.rows->window;
  policy.tokens = Load(args.rows->length);
  policy.first_query = args.rows->first_query;
  return policy;
}

__device__ __forceinline__ HeadRow RowOfHead(const SettleRowsArgs& args, int32_t head) {
  return RowOf(*args.rows, args.arena.geometry, 0, head);
}
__device__ __forceinline__ PromptTier TierOfSlot(const SettleRowsArgs& args, const PromptPolicy& policy,
                                                 const HeadRow& row, int32_t slot) {
  const TokenSlot token = SlotAt(args.arena, row, args.high, kHigh, slot);
  return ChoosePromptTier(policy, Load(token.position), Load(token.score));
}

struct PagesAfter {
  int32_t high;
  int32_t low;
};
__device__ __forceinline__ PagesAfter PagesOf(const SettleRowsArgs& args, const HeadState& state,
                                              const HeadMove& move) {
  const int32_t gone = move.low + move.dropped;
  const int32_t high = PagesFor(state.tokens[kHigh] - gone, TierLayout(args.arena, *args.rows, kHigh).tokens);
  const int32_t low = PagesFor(state.tokens[kLow] + move.low, TierLayout(args.arena, *args.rows, kLow).tokens);
  return PagesAfter{gone == 0 ? state.pages[kHigh] : high, low > state.pages[kLow] ? low : state.pages[kLow]};
}

__global__ void __launch_bounds__(kSettleThreads) CountMovesKernel(SettleRowsArgs args) {
  const auto head = static_cast<int32_t>(blockIdx.x);
  const HeadRow row = RowOfHead(args, head);
  const PromptPolicy policy = PolicyOf(args);
  int32_t low = 0;
  int32_t dropped = 0;
  for (auto slot = static_cast<int32_t>(threadIdx.x); slot < row.state->tokens[kHigh]; slot += kSettleThreads) {
    const PromptTier tier = TierOfSlot(args, policy, row, slot);
    low += tier == PromptTier::kLow ? 1 : 0;
    dropped += tier == PromptTier::kPruned ? 1 : 0;
  }
  low = BlockSum<kSettleThreads>(low);
  dropped = BlockSum<kSettleThreads>(dropped);
  if (threadIdx.x == 0) MovesOf(args)[head] = HeadMove{low, dropped, 0, 0};
}

// Whether a head can move depends on those before it: one thread decides, from numbers that the others have fetched.
__global__ void __launch_bounds__(kSettleThreads) PlanMovesKernel(SettleRowsArgs args) {
  __shared__ int32_t gives[kSettleThreads];
  __shared__ int32_t takes[kSettleThreads];
  __shared__ int32_t fits[kSettleThreads];
  HeadMove* const moves = MovesOf(args);
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const int32_t heads = HeadsOf(args.arena.geometry);
  const RingEnds ends{Load(args.ring.head_tail), Load(args.ring.head_tail + 1)};
  auto free = static_cast<int64_t>(ends.tail - ends.head);
  int32_t given = 0;
  int32_t taken = 0;
  int64_t demoted = 0;
  int64_t dropped = 0;
  bool error = false;
  for (int32_t first = 0; first < heads; first += kSettleThreads) {
    const int32_t head = first + thread;
    if (head < heads) {
      const HeadRow row = RowOfHead(args, head);
      const PagesAfter after = PagesOf(args, *row.state, moves[head]);
      gives[thread] = row.state->pages[kHigh] - after.high;
      takes[thread] = after.low - row.state->pages[kLow];
      fits[thread] =
          row.state->pages[kFixed] + row.state->pages[kTail] + after.high + after.low <= row.capacity ? 1 : 0;
    }
    __syncthreads();
    for (int32_t i = 0; thread == 0 && i < kSettleThreads && first + i < heads; ++i) {
      HeadMove& move = moves[first + i];
      const int64_t left = free + gives[i] - takes[i];
      if (left < 0 || fits[i] == 0) {
        error = true;
        move = HeadMove{0, 0, 0, 0};
        continue;
      }
      free = left;
      move.gives_before = given;
      move.takes_before = taken;
      given += gives[i];
      taken += takes[i];
      demoted += move.low;
      dropped += move.dropped;
    }
    __syncthreads();
  }
  if (thread != 0) return;
  *EndsOf(args) = ends;
  Store(args.ring.head_tail, ends.head + static_cast<uint64_t>(taken));
  Store(args.ring.head_tail + 1, ends.tail + static_cast<uint64_t>(given));
  args.moved[0] += demoted;
  args.moved[1] += dropped;
  if (error) Store(args.error, 1);
}

// Sorts a tile's tokens: slots of low ones and of kept ones, in order.
struct SortedTile {
  int32_t low;
  int32_t kept;
};
__device__ __forceinline__ SortedTile SortTile(const SettleRowsArgs& args, const PromptPolicy& policy,
                                               const HeadRow& row, int32_t first, int32_t tokens, int32_t* low_slots,
                                               int32_t* kept_slots) {
  const auto thread = static_cast<int32_t>(threadIdx.x);
  PromptTier tier = PromptTier::kPruned;
  if (thread < kSettleTile && first + thread < tokens) tier = TierOfSlot(args, policy, row, first + thread);
  const BlockScan<int32_t> low = BlockExclusiveScan<kSettleThreads>(tier == PromptTier::kLow ? 1 : 0);
  const BlockScan<int32_t> kept = BlockExclusiveScan<kSettleThreads>(tier == PromptTier::kHigh ? 1 : 0);
  if (tier == PromptTier::kLow) low_slots[low.before] = first + thread;
  if (tier == PromptTier::kHigh) kept_slots[kept.before] = first + thread;
  __syncthreads();
  return SortedTile{low.total, kept.total};
}

// Re-encodes the listed tokens from their high slots into staged places from `staged` on.
__device__ void StageTokens(const SettleRowsArgs& args, const HeadRow& row, const int32_t* slots_of, int32_t count,
                            uint8_t* staging, int32_t staged) {
  const int32_t head_dim = args.arena.geometry.head_dim;
  const PageLayout layout = StagedLayout(args.low, head_dim, args.most_high_tokens);
  const Format from_format = FormatOf(args.high);
  const Format to_format = FormatOf(args.low);
  const LanePlace place = PlaceOfLane(head_dim, static_cast<int32_t>(threadIdx.x));
  const int32_t slots = kSettleThreads / place.lanes;
  for (int32_t first = 0; first < count; first += slots) {
    const int32_t i = first + place.slot;
    LanePlace own = place;
    own.holds = place.holds && i < count;
    // Lanes without a token follow the first one, so that addresses are sound.
    const TokenSlot from = SlotAt(args.arena, row, args.high, kHigh, slots_of[i < count ? i : 0]);
    const int32_t to = staged + (i < count ? i : 0);
    const Eight k = own.holds ? DecodeStored(from_format.k, from.keys, from.key_meta, own.part) : ZeroEight();
    EncodeOnWarp(k, own, to_format.k, args.rows->key_levels[kLow],
                 staging + layout.keys + to * VectorBytes(to_format.k, head_dim),
                 staging + layout.key_meta + to * MetaBytes(to_format.k, head_dim));
    const Eight v = own.holds ? DecodeStored(from_format.v, from.values, from.value_meta, own.part) : ZeroEight();
    EncodeOnWarp(v, own, to_format.v, args.rows->value_levels[kLow],
                 staging + layout.values + to * VectorBytes(to_format.v, head_dim),
                 staging + layout.value_meta + to * MetaBytes(to_format.v, head_dim));
    if (own.holds && own.part == 0) {
      Store(reinterpret_cast<float*>(staging + layout.scores) + to, Load(from.score));
      Store(reinterpret_cast<int32_t*>(staging + layout.positions) + to, Load(from.position));
    }
  }
}

struct TokenInHand {
  StoredEight k;
  StoredEight v;
  float score;
  int32_t position;
};
__device__ __forceinline__ TokenInHand PickUp(const TokenSlot& from, const Format& format, const LanePlace& place) {
  TokenInHand token;
  token.k = LoadStored(format.k, from.keys, from.key_meta, place);
  token.v = LoadStored(format.v, from.values, from.value_meta, place);
  token.score = place.holds && place.part == 0 ? Load(from.score) : 0.0f;
  token.position = place.holds && place.part == 0 ? Load(from.position) : 0;
  return token;
}
__device__ __forceinline__ void PutDown(const TokenInHand& token, const TokenSlot& to, const Format& format,
                                        const LanePlace& place) {
  StoreStored(format.k, token.k, to.keys, to.key_meta, place);
  StoreStored(format.v, token.v, to.values, to.value_meta, place);
  if (!place.holds || place.part != 0) return;
  Store(to.score, token.score);
  Store(to.position, token.position);
}

// Moves the listed tokens down to the slots from `kept` on. A batch is read before it is written, and what it is
// written to lies below all that is still to be read.
__device__ void CloseUp(const SettleRowsArgs& args, const HeadRow& row, const int32_t* slots_of, int32_t count,
                        int32_t kept) {
  const LanePlace place = PlaceOfLane(args.arena.geometry.head_dim, static_cast<int32_t>(threadIdx.x));
  const Format format = FormatOf(args.high);
  const int32_t slots = kSettleThreads / place.lanes;
  for (int32_t first = 0; first < count; first += slots) {
    const int32_t i = first + place.slot;
    LanePlace own = place;
    own.holds = place.holds && i < count;
    const int32_t from = slots_of[i < count ? i : 0];
    const TokenInHand token = PickUp(SlotAt(args.arena, row, args.high, kHigh, from), format, own);
    __syncthreads();
    if (own.holds) PutDown(token, SlotAt(args.arena, row, args.high, kHigh, kept + i), format, own);
    __syncthreads();
  }
}

__global__ void __launch_bounds__(kSettleThreads) StageMovesKernel(SettleRowsArgs args, int32_t first_head) {
  __shared__ int32_t low_slots[kSettleTile];
  __shared__ int32_t kept_slots[kSettleTile];
  const auto place = static_cast<int32_t>(blockIdx.x);
  const int32_t head = first_head + place;
  const HeadMove move = MovesOf(args)[head];
  if (move.low + move.dropped == 0) return;
  const HeadRow row = RowOfHead(args, head);
  const PromptPolicy policy = PolicyOf(args);
  const int32_t tokens = row.state->tokens[kHigh];
  int32_t staged = 0;
  int32_t kept = 0;
  for (int32_t first = 0; first < tokens; first += kSettleTile) {
    const SortedTile tile = SortTile(args, policy, row, first, tokens, low_slots, kept_slots);
    StageTokens(args, row, low_slots, tile.low, StagedOf(args, place), staged);
    __syncthreads();
    // Nothing has left so far: the tokens are where they belong.
    const bool in_place = kept == first && tile.kept == (tokens - first < kSettleTile ? tokens - first : kSettleTile);
    if (!in_place) CloseUp(args, row, kept_slots, tile.kept, kept);
    __syncthreads();
    staged += tile.low;
    kept += tile.kept;
  }
  const PagesAfter after = PagesOf(args, *row.state, move);
  const auto pages = static_cast<uint64_t>(args.ring.page_count);
  for (int32_t page = after.high + static_cast<int32_t>(threadIdx.x); page < row.state->pages[kHigh];
       page += kSettleThreads) {
    const uint64_t at = EndsOf(args)->tail + static_cast<uint64_t>(move.gives_before + page - after.high);
    Store(args.ring.ids + at % pages, Load(row.page_ids + RowPlace(*row.state, row.capacity, kHigh, page)));
  }
}

__global__ void __launch_bounds__(kSettleThreads) WriteMovesKernel(SettleRowsArgs args, int32_t first_head) {
  const auto staged_place = static_cast<int32_t>(blockIdx.x);
  const int32_t head = first_head + staged_place;
  const HeadMove move = MovesOf(args)[head];
  if (move.low + move.dropped == 0) return;
  const HeadRow row = RowOfHead(args, head);
  const HeadState state = *row.state;
  const PagesAfter after = PagesOf(args, state, move);
  const auto pages = static_cast<uint64_t>(args.ring.page_count);
  for (int32_t page = state.pages[kLow] + static_cast<int32_t>(threadIdx.x); page < after.low; page += kSettleThreads) {
    const uint64_t at = EndsOf(args)->head + static_cast<uint64_t>(move.takes_before + page - state.pages[kLow]);
    Store(row.page_ids + RowPlace(state, row.capacity, kLow, page), Load(args.ring.ids + at % pages));
  }
  __syncthreads();
  const int32_t head_dim = args.arena.geometry.head_dim;
  const PageLayout layout = StagedLayout(args.low, head_dim, args.most_high_tokens);
  const Format format = FormatOf(args.low);
  uint8_t* const staging = StagedOf(args, staged_place);
  const LanePlace place = PlaceOfLane(head_dim, static_cast<int32_t>(threadIdx.x));
  for (int32_t i = place.slot; i < move.low; i += kSettleThreads / place.lanes) {
    const TokenSlot from{staging + layout.keys + i * VectorBytes(format.k, head_dim),
                         staging + layout.key_meta + i * MetaBytes(format.k, head_dim),
                         staging + layout.values + i * VectorBytes(format.v, head_dim),
                         staging + layout.value_meta + i * MetaBytes(format.v, head_dim),
                         reinterpret_cast<float*>(staging + layout.scores) + i,
                         reinterpret_cast<int32_t*>(staging + layout.positions) + i};
    const TokenSlot to = SlotAt(args.arena, row, args.low, kLow, state.tokens[kLow] + i);
    PutDown(PickUp(from, format, place), to, format, place);
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  row.state->pages[kHigh] = after.high;
  row.state->pages[kLow] = after.low;
  row.state->tokens[kHigh] = state.tokens[kHigh] - move.low - move.dropped;
  row.state->tokens[kLow] = state.tokens[kLow] + move.low;
}

}  // namespace

int64_t SettleRowsScratchBytesCuda(const Geometry& geometry, FormatId low, int32_t most_high_tokens) {
  return PlanBytes(geometry) +
         int64_t{WaveHeads(geometry)} * StagedLayout(low, geometry.head_dim, most_high_tokens).end;
}

void SettleRowsCuda(Stream& stream, const SettleRowsArgs& args) {
  const int32_t heads = HeadsOf(args.arena.geometry);
  DECANT_LAUNCH(CountMovesKernel, dim3(static_cast<unsigned>(heads)), dim3(kSettleThreads), 0, stream, args);
  DECANT_LAUNCH(PlanMovesKernel, dim3(1), dim3(kSettleThreads), 0, stream, args);
  for (int32_t first = 0; first < heads; first += kWaveHeads) {
    const auto wave = static_cast<unsigned>(heads - first < kWaveHeads ? heads - first : kWaveHeads);
    DECANT_LAUNCH(StageMovesKernel, dim3(wave), dim3(kSettleThreads), 0, stream, args, first);
    DECANT_LAUNCH(WriteMovesKernel, dim3(wave), dim3(kSettleThreads), 0, stream, args, first);
  }
}

}  // namespace decant
