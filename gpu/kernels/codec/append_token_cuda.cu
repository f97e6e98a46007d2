// The new token of a step and the victim before it. A block takes one (sequence, kv head): its first warp the keys, its
// second the values; what they share of the row they only read, and one thread moves the counts.
#include "common/compress/arith/key_shape.h"
#include "gpu/device/cuda_kernel.h"
#include "gpu/device/warp.cuh"
#include "gpu/kernels/codec/codec_cuda.h"
#include "gpu/kernels/codec/key_ends.cuh"
#include "gpu/kernels/codec/vectors_on_warp.cuh"
#include "gpu/kernels/pages/slot.h"

namespace decant {
namespace {

constexpr int kAppendThreads = 64;

// One vector for the whole warp.
__device__ __forceinline__ LanePlace PlaceOfOne(int32_t head_dim) {
  LanePlace place = PlaceOfLane(head_dim, LaneOf());
  place.holds = place.holds && place.slot == 0;
  return place;
}

// One half of a token.
struct HalfSlot {
  Element element;
  int32_t levels;
  uint8_t* codes;
  uint8_t* meta;
};

__device__ __forceinline__ HalfSlot HalfAt(const PageArena& arena, const SequenceRows& rows, const HeadRow& row,
                                           int32_t tier, int32_t slot, bool keys) {
  const FormatId id = rows.formats[tier];
  const TokenSlot token = SlotAt(arena, row, id, tier, slot);
  HalfSlot half;
  half.element = keys ? FormatOf(id).k : FormatOf(id).v;
  half.levels = keys ? rows.key_levels[tier] : rows.value_levels[tier];
  half.codes = keys ? token.keys : token.values;
  half.meta = keys ? token.key_meta : token.value_meta;
  return half;
}

__device__ __forceinline__ Eight DecodeHalf(const HalfSlot& from, const LanePlace& place) {
  if (!place.holds || from.element == Element::kNone) return ZeroEight();
  return DecodeStored(from.element, from.codes, from.meta, place.part);
}

__device__ __forceinline__ void EncodeHalf(const Eight& eight, const LanePlace& place, const HalfSlot& to) {
  EncodeOnWarp(eight, place, to.element, to.levels, to.codes, to.meta);
}

__device__ __forceinline__ void DemoteHalf(const PageArena& arena, const SequenceRows& rows, const HeadRow& row,
                                           const StepAction& action, bool keys, const LanePlace& place) {
  const HalfSlot from = HalfAt(arena, rows, row, kHigh, action.high_slot, keys);
  EncodeHalf(DecodeHalf(from, place), place, HalfAt(arena, rows, row, kLow, action.demote_to, keys));
  // The new token's pair goes where the victim's was read.
  __syncwarp();
}

// The new token's half as the high tier keeps it.
__device__ __forceinline__ Eight NewHalf(const AppendTokenArgs& args, const SequenceRows& rows, int32_t sequence,
                                         int32_t head, bool keys, const LanePlace& place) {
  const int64_t offset = int64_t{head} * args.arena.geometry.head_dim;
  const KeyForm& form = rows.key_forms[kHigh];
  const float* vector = (keys ? args.k : args.v) + sequence * args.kv_stride + offset;
  if (keys && form.rope == 0) vector = args.pre_rope_k + sequence * args.pre_rope_stride + offset;
  Eight eight = place.holds ? LoadFloats(vector, place.part) : ZeroEight();
  if (!keys) return eight;
  if (form.balanced != 0 && place.holds) {
    const float* const balance = BalanceOf(rows, args.arena.geometry, args.layer, head) + place.part * kEight;
#pragma unroll
    for (int i = 0; i < kEight; ++i) eight.x[i] *= Load(balance + i);
  }
  if (form.hadamard != 0) RotateEight(eight, HadamardOrder(form), place.part);
  return eight;
}

// The ends of the block that the new key is in, by what is stored of it.
__device__ __forceinline__ void AddToStatistics(const PageArena& arena, const SequenceRows& rows, const HeadRow& row,
                                                int32_t slot, Eight key, const LanePlace& place) {
  if (!place.holds) return;
  const FormatId id = rows.formats[kHigh];
  if (FormatOf(id).k == Element::kBf16) key = WidenBf16(NarrowBf16(key));
  uint8_t* const entry = StatisticsAt(arena, row, id, kHigh, slot);
  const bool first = slot % kStatisticsBlock == 0;
  EightEnds ends;
  if (!first) ends = LoadEnds(entry, arena.geometry.head_dim, place.part);
  AddKey(key, first, ends);
  StoreEnds(ends, entry, arena.geometry.head_dim, place.part);
}

// Whole groups of the window's keys, whose pairs belong to channels: the slots of a warp share out a group's tokens.
__device__ __forceinline__ void FreezeKeys(const PageArena& arena, const SequenceRows& rows, const HeadRow& row,
                                           const HeadState& state) {
  const int32_t head_dim = arena.geometry.head_dim;
  const LanePlace place = PlaceOfLane(head_dim, LaneOf());
  const int32_t slots = kWarpLanes / place.lanes;
  const int32_t levels = rows.key_levels[kHigh];
  const Element element = FormatOf(rows.formats[kHigh]).k;
  const int32_t bits = ElementBits(element);
  for (int32_t first = 0; first < rows.window; first += kTokenGroup) {
    const int32_t to = state.tokens[kHigh] + first;
    float low[kEight];
    float high[kEight];
#pragma unroll
    for (int i = 0; i < kEight; ++i) {
      low[i] = kLargestHalf;
      high[i] = -kLargestHalf;
    }
    for (int32_t t = place.slot; t < kTokenGroup; t += slots) {
      Eight eight = DecodeHalf(HalfAt(arena, rows, row, kFixed, first + t, true), place);
      float squares = SquaresOf(eight);
      TameEight(eight, squares);
#pragma unroll
      for (int i = 0; i < kEight; ++i) {
        low[i] = fminf(low[i], eight.x[i]);
        high[i] = fmaxf(high[i], eight.x[i]);
      }
    }
    uint32_t pairs[kEight];
#pragma unroll
    for (int i = 0; i < kEight; ++i) {
      for (int32_t step = place.lanes; step < kWarpLanes; step *= 2) {
        low[i] = fminf(low[i], __shfl_xor_sync(kAllLanes, low[i], step));
        high[i] = fmaxf(high[i], __shfl_xor_sync(kAllLanes, high[i], step));
      }
      pairs[i] = PairBits(FitAffine(low[i], high[i], bits, levels));
    }
    if (!place.holds) continue;
    if (place.slot == 0) {
      auto* const meta = reinterpret_cast<uint4*>(ChannelPairsAt(arena, row, rows.formats[kHigh], kHigh, to));
      Store(meta + 2 * place.part, make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]));
      Store(meta + 2 * place.part + 1, make_uint4(pairs[4], pairs[5], pairs[6], pairs[7]));
    }
    for (int32_t t = place.slot; t < kTokenGroup; t += slots) {
      Eight eight = DecodeHalf(HalfAt(arena, rows, row, kFixed, first + t, true), place);
      float squares = SquaresOf(eight);
      TameEight(eight, squares);
      uint64_t codes = 0;
#pragma unroll
      for (int i = 0; i < kEight; ++i) {
        const LanePair pair = OpenPair(pairs[i]);
        codes |= uint64_t{AffineCode(eight.x[i], pair.zero, pair.inverse, bits, levels)} << (i * bits);
      }
      PutCodes<true>(SlotAt(arena, row, rows.formats[kHigh], kHigh, to + t).keys, bits, place.part, codes);
    }
  }
  __syncwarp();
}

// AppendSplitToken (append_split_token.h): keys in the first warp, values in the second.
__device__ __forceinline__ void AppendSplit(const AppendTokenArgs& args, const SequenceRows& rows, const HeadRow& row,
                                            int32_t sequence, int32_t head, bool keys) {
  const PageArena& arena = args.arena;
  const int32_t head_dim = arena.geometry.head_dim;
  const LanePlace place = PlaceOfOne(head_dim);
  HeadState state = *row.state;
  const int32_t slot = Load(rows.length) % rows.window;
  const bool freezes = (keys ? state.tokens[kFixed] : state.tokens[kTail]) == rows.window;
  __syncthreads();
  const int64_t offset = sequence * args.kv_stride + int64_t{head} * head_dim;
  if (keys) {
    if (freezes) FreezeKeys(arena, rows, row, state);
  } else if (freezes) {
    const HalfSlot from = HalfAt(arena, rows, row, kTail, slot, false);
    EncodeHalf(DecodeHalf(from, place), place, HalfAt(arena, rows, row, kLow, state.tokens[kLow], false));
    __syncwarp();
  }
  const Eight eight = place.holds ? LoadFloats((keys ? args.k : args.v) + offset, place.part) : ZeroEight();
  HalfSlot to = HalfAt(arena, rows, row, keys ? kFixed : kTail, slot, keys);
  to.levels = 0;
  EncodeHalf(eight, place, to);
  if (LaneOf() != 0) return;
  // Each half counts for itself.
  HeadState& moved = *row.state;
  if (keys) {
    moved.tokens[kHigh] = state.tokens[kHigh] + (freezes ? rows.window : 0);
    moved.tokens[kFixed] = (freezes ? 0 : state.tokens[kFixed]) + 1;
  } else {
    moved.tokens[kLow] = state.tokens[kLow] + (freezes ? 1 : 0);
    moved.tokens[kTail] = state.tokens[kTail] + (freezes ? 0 : 1);
  }
}

// With one block a processor asked for, the compiler has the registers it wants: fewer would spill.
__global__ void __launch_bounds__(kAppendThreads, 1) AppendTokenKernel(const __grid_constant__ AppendTokenArgs args) {
  const PageArena& arena = args.arena;
  const auto head = static_cast<int32_t>(blockIdx.x);
  const auto sequence = static_cast<int32_t>(blockIdx.y);
  const StepAction action =
      Load(args.actions + (int64_t{sequence} * arena.geometry.layers + args.layer) * arena.geometry.kv_heads + head);
  if (action.high_slot < 0) return;
  const SequenceRows& rows = args.rows[sequence];
  const HeadRow row = RowOf(rows, arena.geometry, args.layer, head);
  const bool keys = WarpOf() == 0;
  if (rows.split()) return AppendSplit(args, rows, row, sequence, head, keys);
  const LanePlace place = PlaceOfOne(arena.geometry.head_dim);
  const Format format = FormatOf(rows.formats[kHigh]);
  const bool counts = keys && LaneOf() == 0;
  if (counts && action.demote_to >= 0) {
    const TokenSlot from = SlotAt(arena, row, rows.formats[kHigh], kHigh, action.high_slot);
    const TokenSlot to = SlotAt(arena, row, rows.formats[kLow], kLow, action.demote_to);
    Store(to.score, Load(from.score));
    Store(to.position, Load(from.position));
  }
  if (action.demote_to >= 0) DemoteHalf(arena, rows, row, action, keys, place);
  const Eight eight = NewHalf(args, rows, sequence, head, keys, place);
  EncodeHalf(eight, place, HalfAt(arena, rows, row, kHigh, action.high_slot, keys));
  if (keys && format.statistics) AddToStatistics(arena, rows, row, action.high_slot, eight, place);
  if (!counts) return;
  if (format.tracked) {
    const TokenSlot to = SlotAt(arena, row, rows.formats[kHigh], kHigh, action.high_slot);
    Store(to.score, 0.0f);
    Store(to.position, Load(rows.length));
  }
  // Places in the row follow from its pages, so the other warp does not read these.
  if (action.demote_to >= 0 && action.demote_to == row.state->tokens[kLow]) ++row.state->tokens[kLow];
  if (action.high_slot == row.state->tokens[kHigh]) ++row.state->tokens[kHigh];
}

}  // namespace

void AppendTokenCuda(Stream& stream, const AppendTokenArgs& args) {
  const dim3 grid(static_cast<unsigned>(args.arena.geometry.kv_heads), static_cast<unsigned>(args.sequences));
  DECANT_LAUNCH(AppendTokenKernel, grid, dim3(kAppendThreads), 0, stream, args);
}

}  // namespace decant
