// Single vectors straight between registers and global memory: a warp encodes or copies as many as it holds side by
// side, each lane with addresses of its own vector. The whole warp calls; `holds` says whether a lane has work.
#ifndef DECANT_GPU_KERNELS_CODEC_VECTORS_ON_WARP_CUH_
#define DECANT_GPU_KERNELS_CODEC_VECTORS_ON_WARP_CUH_

#include <cstdint>

#include "gpu/kernels/codec/vector_lanes.cuh"

namespace decant {

// A vector of any alignment to 4 bytes, as the model's step leaves it.
__device__ __forceinline__ Eight LoadFloats(const float* vector, int32_t part) {
  if ((reinterpret_cast<uintptr_t>(vector) & 15u) == 0) return LoadEight(RunType::kF32, vector, part);
  Eight eight;
#pragma unroll
  for (int i = 0; i < kEight; ++i) eight.x[i] = Load(vector + part * kEight + i);
  return eight;
}

// Not of channel elements. `element` and `levels` are the same for the whole warp.
__device__ inline void EncodeOnWarp(Eight eight, const LanePlace& place, Element element, int32_t levels,
                                    uint8_t* codes, uint8_t* meta) {
  if (element == Element::kNone) return;
  if (IsFull(element)) {
    const RunType form = element == Element::kF32 ? RunType::kF32 : RunType::kBf16;
    if (place.holds) StoreEight(form, eight, codes, place.part);
    return;
  }
  const int32_t bits = ElementBits(element);
  const int32_t group_lanes = kElementGroup / kEight;
  const int32_t width = IsGrouped(element) && place.lanes > group_lanes ? group_lanes : place.lanes;
  float squares = SquaresOf(eight);
  TameEight(eight, squares);
  float low = kLargestHalf;
  float high = -kLargestHalf;
  if (place.holds) RangeOf(eight, low, high);
  for (int32_t step = width / 2; step > 0; step /= 2) {
    low = fminf(low, __shfl_xor_sync(kAllLanes, low, step));
    high = fmaxf(high, __shfl_xor_sync(kAllLanes, high, step));
  }
  if (!place.holds) return;
  const uint32_t pair = PairBits(FitAffine(low, high, bits, levels));
  PutCodes<true>(codes, bits, place.part, EncodeEight(eight, OpenPair(pair), bits, levels));
  if ((place.part & (width - 1)) == 0) Store(reinterpret_cast<uint32_t*>(meta) + place.part / width, pair);
}

// A stored vector's bytes on the way from one place to another.
struct StoredEight {
  uint4 low;
  uint4 high;  // of f32
  uint32_t pair;
};

__device__ __forceinline__ StoredEight LoadStored(Element element, const uint8_t* codes, const uint8_t* meta,
                                                  const LanePlace& place) {
  StoredEight stored;
  stored.low = make_uint4(0, 0, 0, 0);
  stored.high = stored.low;
  stored.pair = 0;
  if (!place.holds || element == Element::kNone) return stored;
  if (IsFull(element)) {
    const auto* quads = reinterpret_cast<const uint4*>(codes);
    if (element == Element::kBf16) {
      stored.low = Load(quads + place.part);
    } else {
      stored.low = Load(quads + 2 * place.part);
      stored.high = Load(quads + 2 * place.part + 1);
    }
    return stored;
  }
  const uint64_t packed = LoadCodes(codes, ElementBits(element), place.part);
  stored.low.x = static_cast<uint32_t>(packed);
  stored.low.y = static_cast<uint32_t>(packed >> 32);
  const auto* pairs = reinterpret_cast<const uint32_t*>(meta);
  stored.pair = Load(pairs + (IsGrouped(element) ? place.part * kEight / kElementGroup : 0));
  return stored;
}

__device__ __forceinline__ void StoreStored(Element element, const StoredEight& stored, uint8_t* codes, uint8_t* meta,
                                            const LanePlace& place) {
  if (!place.holds || element == Element::kNone) return;
  if (IsFull(element)) {
    auto* quads = reinterpret_cast<uint4*>(codes);
    if (element == Element::kBf16) {
      Store(quads + place.part, stored.low);
    } else {
      Store(quads + 2 * place.part, stored.low);
      Store(quads + 2 * place.part + 1, stored.high);
    }
    return;
  }
  PutCodes<true>(codes, ElementBits(element), place.part, uint64_t{stored.low.x} | uint64_t{stored.low.y} << 32);
  const int32_t group_lanes = IsGrouped(element) ? kElementGroup / kEight : place.lanes;
  if (place.part % group_lanes == 0) Store(reinterpret_cast<uint32_t*>(meta) + place.part / group_lanes, stored.pair);
}

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_CODEC_VECTORS_ON_WARP_CUH_
