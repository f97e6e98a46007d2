// A block of kEncodeThreads threads quantises and packs tiles of up to kTileTokens vectors of one half, K or V. Codes
// and pairs gather in shared memory and leave 16 bytes a lane; plain floats leave from registers.
//
// A Source has
//   Taken<kRaw> operator()(int32_t token, const LanePlace& place) const
// where `token` counts within the tile: the lane's eight elements or, copied, their stored form.
#ifndef DECANT_GPU_KERNELS_CODEC_ENCODE_TILE_CUH_
#define DECANT_GPU_KERNELS_CODEC_ENCODE_TILE_CUH_

#include <cstddef>
#include <cstdint>

#include "gpu/device/block.cuh"
#include "gpu/device/cuda_kernel.h"
#include "gpu/kernels/codec/vector_lanes.cuh"

namespace decant {

inline constexpr int32_t kEncodeThreads = 256;
// Two groups of channel elements, and whole 16-byte pieces of every packed vector: 64 codes of one bit are 8 bytes, 64
// vectors of 8 elements 64.
inline constexpr int32_t kTileTokens = 64;

// One lane's share of a vector: elements, or what is copied as it is.
struct Taken {
  Eight eight;
  bool copied;
  uint4 raw;      // 8 packed codes in x and y, or 8 bf16
  uint32_t pair;  // of affine codes
};

// Where the tile's first token goes, in global memory.
struct HalfTarget {
  Element element;
  int32_t levels;
  uint8_t* codes;
  uint8_t* meta;
};

// The lane's part of sums over what was encoded.
struct ErrorSums {
  double difference = 0;
  double norm = 0;
};

// Pieces of dynamic shared memory.
struct TileMemory {
  uint8_t* codes;   // [kTileTokens, head_dim]
  uint32_t* pairs;  // [kTileTokens, head_dim / 32 rounded up]
  float* ranges;    // of channel elements: [slots, padded head_dim] smallest, the same largest
  float* opened;    // of channel elements: scale, zero and inverse, [padded head_dim] each
};

DECANT_HOST_DEVICE constexpr int32_t PairsOfVector(int32_t head_dim) {
  return (head_dim + kElementGroup - 1) / kElementGroup;
}
DECANT_HOST_DEVICE constexpr size_t TileCodeBytes(int32_t head_dim) {
  return static_cast<size_t>(kTileTokens) * static_cast<size_t>(head_dim);
}
DECANT_HOST_DEVICE constexpr size_t TilePairBytes(int32_t head_dim) {
  return static_cast<size_t>(kTileTokens) * static_cast<size_t>(PairsOfVector(head_dim)) * 4;
}
inline constexpr size_t kTileRangeBytes = static_cast<size_t>(kEncodeThreads) * kEight * 4 * 2;
DECANT_HOST_DEVICE constexpr size_t TileSharedBytes(int32_t head_dim) {
  const size_t padded = static_cast<size_t>(LanesOfVector(head_dim)) * kEight;
  return TileCodeBytes(head_dim) + TilePairBytes(head_dim) + kTileRangeBytes + 3 * 4 * padded;
}
__device__ __forceinline__ TileMemory PlaceTile(uint8_t* shared, int32_t head_dim) {
  TileMemory memory;
  memory.codes = shared;
  shared += TileCodeBytes(head_dim);
  memory.pairs = reinterpret_cast<uint32_t*>(shared);
  shared += TilePairBytes(head_dim);
  memory.ranges = reinterpret_cast<float*>(shared);
  memory.opened = reinterpret_cast<float*>(shared + kTileRangeBytes);
  return memory;
}

// Shared to global memory, both 16-byte aligned.
__device__ __forceinline__ void CopyTile(const void* from, void* to, int32_t bytes) {
  const auto* quads = static_cast<const uint4*>(from);
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < bytes / 16; i += kEncodeThreads) {
    Store(static_cast<uint4*>(to) + i, quads[i]);
  }
  const int32_t rest = bytes / 16 * 16 + static_cast<int32_t>(threadIdx.x);
  if (rest < bytes) Store(static_cast<uint8_t*>(to) + rest, static_cast<const uint8_t*>(from)[rest]);
}

// Fits kPasses ranges that all lanes of a group of `width` hold. Where the group is wide enough each lane fits one of
// them and tells the others. fitted: the pair that this lane fitted, that of pass `owned`; -1: it fitted all of them.
template <int kPasses>
__device__ __forceinline__ int32_t FitPasses(const float (&low)[kPasses], const float (&high)[kPasses], int32_t width,
                                             int32_t lane, int32_t bits, int32_t levels, LanePair (&pairs)[kPasses],
                                             uint32_t (&fitted)[kPasses]) {
  if (width < kPasses) {
#pragma unroll
    for (int p = 0; p < kPasses; ++p) {
      fitted[p] = PairBits(FitAffine(low[p], high[p], bits, levels));
      pairs[p] = OpenPair(fitted[p]);
    }
    return -1;
  }
  float own_low = low[0];
  float own_high = high[0];
#pragma unroll
  for (int p = 1; p < kPasses; ++p) {
    own_low = lane == p ? low[p] : own_low;
    own_high = lane == p ? high[p] : own_high;
  }
  fitted[0] = PairBits(FitAffine(own_low, own_high, bits, levels));
  const LanePair own = OpenPair(fitted[0]);
#pragma unroll
  for (int p = 0; p < kPasses; ++p) {
    pairs[p].scale = __shfl_sync(kAllLanes, own.scale, p, width);
    pairs[p].zero = __shfl_sync(kAllLanes, own.zero, p, width);
    pairs[p].inverse = __shfl_sync(kAllLanes, own.inverse, p, width);
  }
  return lane < kPasses ? lane : kPasses;
}

template <int kPasses, typename Source>
__device__ void EncodeAffineTile(const Source& source, int32_t tokens, int32_t head_dim, const HalfTarget& to,
                                 const TileMemory& memory, ErrorSums& sums) {
  const LanePlace place = PlaceOfLane(head_dim, static_cast<int32_t>(threadIdx.x));
  const int32_t slots = kEncodeThreads / place.lanes;
  const int32_t bits = ElementBits(to.element);
  const auto vector_bytes = static_cast<int32_t>(VectorBytes(to.element, head_dim));
  const int32_t group_lanes = kElementGroup / kEight;
  const int32_t width = IsGrouped(to.element) && place.lanes > group_lanes ? group_lanes : place.lanes;
  const int32_t lane = place.part & (width - 1);
  const int32_t pair_count = IsGrouped(to.element) ? PairsOfVector(head_dim) : 1;
  const int32_t pair_at = place.part / width;
  const bool pair_holds = pair_at * width * kEight < head_dim;
  for (int32_t first = 0; first < tokens; first += slots * kPasses) {
    Taken taken[kPasses];
    float low[kPasses];
    float high[kPasses];
    float squares[kPasses];
#pragma unroll
    for (int p = 0; p < kPasses; ++p) {
      const int32_t token = first + p * slots + place.slot;
      taken[p].copied = false;
      taken[p].eight = ZeroEight();
      if (place.holds && token < tokens) taken[p] = source(token, place);
    }
    source.Shape(taken, place);
#pragma unroll
    for (int p = 0; p < kPasses; ++p) {
      squares[p] = SquaresOf(taken[p].eight);
      TameEight(taken[p].eight, squares[p]);
      low[p] = kLargestHalf;
      high[p] = -kLargestHalf;
      if (place.holds) RangeOf(taken[p].eight, low[p], high[p]);
      for (int32_t step = width / 2; step > 0; step /= 2) {
        low[p] = fminf(low[p], __shfl_xor_sync(kAllLanes, low[p], step));
        high[p] = fmaxf(high[p], __shfl_xor_sync(kAllLanes, high[p], step));
      }
    }
    LanePair pairs[kPasses];
    uint32_t fitted[kPasses];
    const int32_t owned = FitPasses<kPasses>(low, high, width, lane, bits, to.levels, pairs, fitted);
#pragma unroll
    for (int p = 0; p < kPasses; ++p) {
      const int32_t token = first + p * slots + place.slot;
      if (token >= tokens) continue;
      uint64_t codes = EncodeEight(taken[p].eight, pairs[p], bits, to.levels);
      if (!taken[p].copied && place.holds) {
        sums.difference += static_cast<double>(DifferenceOf(taken[p].eight, codes, bits, pairs[p]));
        sums.norm += static_cast<double>(squares[p]);
      }
      if (taken[p].copied) codes = uint64_t{taken[p].raw.x} | uint64_t{taken[p].raw.y} << 32;
      if (place.holds) PutCodes<false>(memory.codes + token * vector_bytes, bits, place.part, codes);
      // A copied pair is every lane's; the first one of its group puts it down.
      const bool writes = taken[p].copied || owned < 0 ? lane == 0 : owned == p;
      if (writes && pair_holds) {
        memory.pairs[token * pair_count + pair_at] = taken[p].copied ? taken[p].pair : fitted[owned < 0 ? p : 0];
      }
    }
  }
  __syncthreads();
  CopyTile(memory.codes, to.codes, tokens * vector_bytes);
  CopyTile(memory.pairs, to.meta, tokens * pair_count * 4);
  __syncthreads();
}

template <typename Source>
__device__ void EncodeFullTile(const Source& source, int32_t tokens, int32_t head_dim, const HalfTarget& to,
                               ErrorSums& sums) {
  const LanePlace place = PlaceOfLane(head_dim, static_cast<int32_t>(threadIdx.x));
  const int32_t slots = kEncodeThreads / place.lanes;
  const int64_t vector_bytes = VectorBytes(to.element, head_dim);
  const RunType form = to.element == Element::kF32 ? RunType::kF32 : RunType::kBf16;
  for (int32_t first = 0; first < tokens; first += slots) {
    const int32_t token = first + place.slot;
    Taken taken[1];
    taken[0].copied = false;
    taken[0].eight = ZeroEight();
    if (place.holds && token < tokens) taken[0] = source(token, place);
    source.Shape(taken, place);
    if (!place.holds || token >= tokens) continue;
    uint8_t* const vector = to.codes + token * vector_bytes;
    Eight& eight = taken[0].eight;
    if (taken[0].copied && form == RunType::kBf16) {
      Store(reinterpret_cast<uint4*>(vector) + place.part, taken[0].raw);
      continue;
    }
    StoreEight(form, eight, vector, place.part);
    if (taken[0].copied) continue;
    float squares = SquaresOf(eight);
    Eight tame = eight;
    TameEight(tame, squares);
    sums.norm += static_cast<double>(squares);
    if (form == RunType::kF32) continue;
    float difference = 0.0f;
#pragma unroll
    for (int i = 0; i < kEight; ++i) {
      const float off = tame.x[i] - TameValue(ToFloat(ToBf16(eight.x[i])));
      difference = fmaf(off, off, difference);
    }
    sums.difference += static_cast<double>(difference);
  }
}

// One group of up to kTokenGroup tokens from `first` of the tile on, whose pairs belong to channels.
template <typename Source>
__device__ void EncodeChannelGroup(const Source& source, int32_t first, int32_t tokens, int32_t head_dim,
                                   const HalfTarget& to, const TileMemory& memory, ErrorSums& sums) {
  constexpr int32_t kMost = 4;  // tokens of a slot: 32 lanes a vector leave 8 slots
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const LanePlace place = PlaceOfLane(head_dim, thread);
  const int32_t all_slots = kEncodeThreads / place.lanes;
  const int32_t slots = all_slots < kTokenGroup ? all_slots : kTokenGroup;
  const int32_t padded = place.lanes * kEight;
  const int32_t bits = ElementBits(to.element);
  const auto vector_bytes = static_cast<int32_t>(VectorBytes(to.element, head_dim));
  float* const smallest = memory.ranges;
  float* const largest = memory.ranges + slots * padded;
  Taken taken[kMost];
  float low[kEight];
  float high[kEight];
#pragma unroll
  for (int i = 0; i < kEight; ++i) {
    low[i] = kLargestHalf;
    high[i] = -kLargestHalf;
  }
#pragma unroll
  for (int p = 0; p < kMost; ++p) {
    const int32_t token = p * slots + place.slot;
    taken[p].copied = false;
    taken[p].eight = ZeroEight();
    if (place.holds && place.slot < slots && token < tokens) taken[p] = source(first + token, place);
  }
  source.Shape(taken, place);
#pragma unroll
  for (int p = 0; p < kMost; ++p) {
    const int32_t token = p * slots + place.slot;
    if (!place.holds || place.slot >= slots || token >= tokens) continue;
    float squares = SquaresOf(taken[p].eight);
    TameEight(taken[p].eight, squares);
    sums.norm += static_cast<double>(squares);
#pragma unroll
    for (int i = 0; i < kEight; ++i) {
      low[i] = fminf(low[i], taken[p].eight.x[i]);
      high[i] = fmaxf(high[i], taken[p].eight.x[i]);
    }
  }
  if (place.slot < slots) {
    auto* const lows = reinterpret_cast<float4*>(smallest + place.slot * padded + place.part * kEight);
    auto* const highs = reinterpret_cast<float4*>(largest + place.slot * padded + place.part * kEight);
    lows[0] = make_float4(low[0], low[1], low[2], low[3]);
    lows[1] = make_float4(low[4], low[5], low[6], low[7]);
    highs[0] = make_float4(high[0], high[1], high[2], high[3]);
    highs[1] = make_float4(high[4], high[5], high[6], high[7]);
  }
  __syncthreads();
  if (thread < head_dim) {
    float least = kLargestHalf;
    float most = -kLargestHalf;
    for (int32_t slot = 0; slot < slots; ++slot) {
      least = fminf(least, smallest[slot * padded + thread]);
      most = fmaxf(most, largest[slot * padded + thread]);
    }
    const uint32_t pair = PairBits(FitAffine(least, most, bits, to.levels));
    const LanePair opened = OpenPair(pair);
    memory.opened[thread] = opened.scale;
    memory.opened[padded + thread] = opened.zero;
    memory.opened[2 * padded + thread] = opened.inverse;
    Store(reinterpret_cast<uint32_t*>(to.meta + MetaSegmentBytes(to.element, head_dim, first)) + thread, pair);
  }
  __syncthreads();
#pragma unroll
  for (int p = 0; p < kMost; ++p) {
    const int32_t token = p * slots + place.slot;
    if (!place.holds || place.slot >= slots || token >= tokens) continue;
    uint64_t codes = 0;
    float difference = 0.0f;
#pragma unroll
    for (int i = 0; i < kEight; ++i) {
      const int32_t channel = place.part * kEight + i;
      const float scale = memory.opened[channel];
      const float zero = memory.opened[padded + channel];
      const uint32_t code = AffineCode(taken[p].eight.x[i], zero, memory.opened[2 * padded + channel], bits, to.levels);
      codes |= uint64_t{code} << (i * bits);
      const float off = taken[p].eight.x[i] - TameValue(AffineValue(code, scale, zero));
      difference = fmaf(off, off, difference);
    }
    sums.difference += static_cast<double>(difference);
    PutCodes<false>(memory.codes + (first + token) * vector_bytes, bits, place.part, codes);
  }
  __syncthreads();
}

// Tokens [0, tokens) of a tile; what comes before it in the run are whole tiles. The whole block calls.
template <int kPasses, typename Source>
__device__ void EncodeTile(const Source& source, int32_t tokens, int32_t head_dim, const HalfTarget& to,
                           const TileMemory& memory, ErrorSums& sums) {
  if (IsFull(to.element)) return EncodeFullTile(source, tokens, head_dim, to, sums);
  if (!IsChannel(to.element)) return EncodeAffineTile<kPasses>(source, tokens, head_dim, to, memory, sums);
  for (int32_t first = 0; first < tokens; first += kTokenGroup) {
    const int32_t count = tokens - first < kTokenGroup ? tokens - first : kTokenGroup;
    EncodeChannelGroup(source, first, count, head_dim, to, memory, sums);
  }
  CopyTile(memory.codes, to.codes, tokens * static_cast<int32_t>(VectorBytes(to.element, head_dim)));
  __syncthreads();
}

// The target of the tile that begins at token `first` of a run.
__device__ __forceinline__ HalfTarget TargetFrom(const HalfTarget& run, int32_t first, int32_t head_dim) {
  HalfTarget tile = run;
  tile.codes += first * VectorBytes(run.element, head_dim);
  tile.meta += MetaSegmentBytes(run.element, head_dim, first);
  return tile;
}

// Sums of the block, in a fixed order.
__device__ __forceinline__ void StoreErrors(const ErrorSums& sums, StoredError* error) {
  const double difference = BlockSum<kEncodeThreads>(sums.difference);
  const double norm = BlockSum<kEncodeThreads>(sums.norm);
  if (threadIdx.x == 0 && error != nullptr) {
    Store(&error->squared_difference, difference);
    Store(&error->squared_norm, norm);
  }
}

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_CODEC_ENCODE_TILE_CUH_
