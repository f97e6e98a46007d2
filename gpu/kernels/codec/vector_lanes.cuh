// Vectors on the lanes of a warp: eight neighbouring elements a lane, so that a bf16 vector is read 16 bytes at a time
// and eight codes are whole bytes at every width. A vector takes LanesOfVector lanes, a power of two; a warp holds
// 32 / lanes vectors side by side. The per-element arithmetic is that of common/compress/arith.
#ifndef DECANT_GPU_KERNELS_CODEC_VECTOR_LANES_CUH_
#define DECANT_GPU_KERNELS_CODEC_VECTOR_LANES_CUH_

#include <cstdint>

#include "common/base/half.h"
#include "common/compress/arith/affine.h"
#include "common/compress/arith/hadamard.h"
#include "common/compress/arith/pack.h"
#include "common/compress/profile.h"
#include "common/kv/format.h"
#include "gpu/device/cuda_kernel.h"

namespace decant {

inline constexpr int32_t kEight = 8;

DECANT_HOST_DEVICE constexpr int32_t LanesOfVector(int32_t head_dim) {
  int32_t lanes = 1;
  while (lanes * kEight < head_dim) lanes *= 2;
  return lanes;
}

// Where a thread stands among vectors that are dealt to the threads of a block in order.
struct LanePlace {
  int32_t lanes;  // of a vector
  int32_t part;   // which eight elements
  int32_t slot;   // which vector of those side by side in the block
  bool holds;     // lanes behind the vector's end hold nothing
};

__device__ __forceinline__ LanePlace PlaceOfLane(int32_t head_dim, int32_t thread) {
  LanePlace place;
  place.lanes = LanesOfVector(head_dim);
  place.part = thread & (place.lanes - 1);
  place.slot = thread / place.lanes;
  place.holds = place.part * kEight < head_dim;
  return place;
}

struct Eight {
  float x[kEight];
};

__device__ __forceinline__ Eight ZeroEight() {
  Eight eight;
#pragma unroll
  for (int i = 0; i < kEight; ++i) eight.x[i] = 0.0f;
  return eight;
}

__device__ __forceinline__ Eight WidenBf16(const uint4& raw) {
  const uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};
  Eight eight;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    eight.x[2 * i] = BitsToFloat(words[i] << 16);
    eight.x[2 * i + 1] = BitsToFloat(words[i] & 0xffff0000u);
  }
  return eight;
}

__device__ __forceinline__ uint4 NarrowBf16(const Eight& eight) {
  uint32_t words[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    words[i] = uint32_t{ToBf16(eight.x[2 * i]).bits} | uint32_t{ToBf16(eight.x[2 * i + 1]).bits} << 16;
  }
  return make_uint4(words[0], words[1], words[2], words[3]);
}

// Vectors start at multiples of 16 bytes.
__device__ __forceinline__ Eight LoadEight(RunType run_type, const void* vector, int32_t part) {
  if (run_type == RunType::kBf16) return WidenBf16(Load(static_cast<const uint4*>(vector) + part));
  const float4 low = Load(static_cast<const float4*>(vector) + 2 * part);
  const float4 high = Load(static_cast<const float4*>(vector) + 2 * part + 1);
  return Eight{{low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w}};
}

__device__ __forceinline__ void StoreEight(RunType run_type, const Eight& eight, void* vector, int32_t part) {
  if (run_type == RunType::kBf16) {
    Store(static_cast<uint4*>(vector) + part, NarrowBf16(eight));
    return;
  }
  const float* x = eight.x;
  Store(static_cast<float4*>(vector) + 2 * part, make_float4(x[0], x[1], x[2], x[3]));
  Store(static_cast<float4*>(vector) + 2 * part + 1, make_float4(x[4], x[5], x[6], x[7]));
}

// Eight packed codes in the low bits; they stand at a multiple of their own size.
__device__ __forceinline__ uint64_t LoadCodes(const uint8_t* codes, int32_t bits, int32_t part) {
  const uint8_t* at = codes + part * bits;
  if (bits == 8) {
    const uint2 two = Load(reinterpret_cast<const uint2*>(at));
    return uint64_t{two.x} | uint64_t{two.y} << 32;
  }
  if (bits == 4) return Load(reinterpret_cast<const uint32_t*>(at));
  if (bits == 2) return Load(reinterpret_cast<const uint16_t*>(at));
  return Load(at);
}

// Into global memory, or with plain stores into shared memory.
template <bool kGlobal, typename T>
__device__ __forceinline__ void Put(T* at, T value) {
  if constexpr (kGlobal) {
    Store(at, value);
  } else {
    *at = value;
  }
}
template <bool kGlobal>
__device__ __forceinline__ void PutCodes(uint8_t* codes, int32_t bits, int32_t part, uint64_t packed) {
  uint8_t* at = codes + part * bits;
  if (bits == 8) {
    Put<kGlobal>(reinterpret_cast<uint2*>(at),
                 make_uint2(static_cast<uint32_t>(packed), static_cast<uint32_t>(packed >> 32)));
  } else if (bits == 4) {
    Put<kGlobal>(reinterpret_cast<uint32_t*>(at), static_cast<uint32_t>(packed));
  } else if (bits == 2) {
    Put<kGlobal>(reinterpret_cast<uint16_t*>(at), static_cast<uint16_t>(packed));
  } else {
    Put<kGlobal>(at, static_cast<uint8_t>(packed));
  }
}

// A pair as one word, as it is stored: scale in the low half.
__device__ __forceinline__ uint32_t PairBits(const AffinePair& pair) {
  return uint32_t{pair.scale.bits} | uint32_t{pair.zero.bits} << 16;
}
__device__ __forceinline__ float PairScale(uint32_t pair) { return ToFloat(Fp16{static_cast<uint16_t>(pair)}); }
__device__ __forceinline__ float PairZero(uint32_t pair) { return ToFloat(Fp16{static_cast<uint16_t>(pair >> 16)}); }

// What the encoder needs of a pair.
struct LanePair {
  float scale;
  float zero;
  float inverse;
};
__device__ __forceinline__ LanePair OpenPair(uint32_t pair) {
  const float scale = PairScale(pair);
  return LanePair{scale, PairZero(pair), InverseScale(scale)};
}

// Sum of squares, not rounded step by step: it serves errors and a test of size, never bytes.
__device__ __forceinline__ float SquaresOf(const Eight& eight) {
  float squares = 0.0f;
#pragma unroll
  for (int i = 0; i < kEight; ++i) squares = fmaf(eight.x[i], eight.x[i], squares);
  return squares;
}

// Nearly all vectors are tame; a sum of squares well within the largest half's square says so at once, and is false for
// NaN.
__device__ __forceinline__ void TameEight(Eight& eight, float& squares) {
  if (squares <= 4.0e9f) return;
#pragma unroll
  for (int i = 0; i < kEight; ++i) eight.x[i] = TameValue(eight.x[i]);
  squares = SquaresOf(eight);
}

// Of tame values.
__device__ __forceinline__ void RangeOf(const Eight& eight, float& low, float& high) {
#pragma unroll
  for (int i = 0; i < kEight; ++i) {
    low = fminf(low, eight.x[i]);
    high = fmaxf(high, eight.x[i]);
  }
}

template <int32_t kBits>
__device__ __forceinline__ uint64_t EncodeEightOf(const Eight& eight, const LanePair& pair, int32_t levels) {
  uint64_t codes = 0;
#pragma unroll
  for (int i = 0; i < kEight; ++i) {
    const uint32_t code = AffineCode(eight.x[i], pair.zero, pair.inverse, kBits, levels);
    // Little end first, as PackEight leaves them.
    if constexpr (kBits == 8) {
      codes |= uint64_t{code} << (i * kBits);
    } else {
      codes = static_cast<uint32_t>(codes) | code << (i * kBits);
    }
  }
  return codes;
}
__device__ __forceinline__ uint64_t EncodeEight(const Eight& eight, const LanePair& pair, int32_t bits,
                                                int32_t levels) {
  if (bits == 8) return EncodeEightOf<8>(eight, pair, levels);
  if (bits == 4) return EncodeEightOf<4>(eight, pair, levels);
  if (bits == 2) return EncodeEightOf<2>(eight, pair, levels);
  return EncodeEightOf<1>(eight, pair, levels);
}

__device__ __forceinline__ uint32_t CodeAt(uint64_t codes, int32_t bits, int32_t i) {
  const uint32_t word = bits == 8 && i >= 4 ? static_cast<uint32_t>(codes >> 32) : static_cast<uint32_t>(codes);
  return word >> (bits == 8 ? (i & 3) * 8 : i * bits) & MaxCode(bits);
}

__device__ __forceinline__ Eight DecodeEight(uint64_t codes, int32_t bits, float scale, float zero) {
  Eight eight;
#pragma unroll
  for (int i = 0; i < kEight; ++i) eight.x[i] = AffineValue(CodeAt(codes, bits, i), scale, zero);
  return eight;
}

// Squared difference between tame values and what their codes read back as.
__device__ __forceinline__ float DifferenceOf(const Eight& eight, uint64_t codes, int32_t bits, const LanePair& pair) {
  float difference = 0.0f;
#pragma unroll
  for (int i = 0; i < kEight; ++i) {
    const float code = BitsToFloat(CodeAt(codes, bits, i) | FloatBits(kRoundingShift)) - kRoundingShift;
    const float off = eight.x[i] - TameValue(fmaf(code, pair.scale, pair.zero));
    difference = fmaf(off, off, difference);
  }
  return difference;
}

// What the lane's share of a stored vector reads back as. `meta` is the vector's own or, of channel elements, its
// group's.
__device__ __forceinline__ Eight DecodeStored(Element element, const uint8_t* codes, const uint8_t* meta,
                                              int32_t part) {
  if (element == Element::kF32) return LoadEight(RunType::kF32, codes, part);
  if (element == Element::kBf16) return LoadEight(RunType::kBf16, codes, part);
  const int32_t bits = ElementBits(element);
  const uint64_t packed = LoadCodes(codes, bits, part);
  const auto* pairs = reinterpret_cast<const uint32_t*>(meta);
  if (!IsChannel(element)) {
    const uint32_t pair = Load(pairs + (IsGrouped(element) ? part * kEight / kElementGroup : 0));
    return DecodeEight(packed, bits, PairScale(pair), PairZero(pair));
  }
  const auto* quads = reinterpret_cast<const uint4*>(pairs + part * kEight);
  const uint4 low = Load(quads);
  const uint4 high = Load(quads + 1);
  const uint32_t own[kEight] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
  Eight eight;
#pragma unroll
  for (int i = 0; i < kEight; ++i) {
    eight.x[i] = AffineValue(CodeAt(packed, bits, i), PairScale(own[i]), PairZero(own[i]));
  }
  return eight;
}

// RotateHadamard over the lanes of each vector; the whole warp calls. Sums are those of RotateBlock, one by one.
__device__ __forceinline__ void RotateEight(Eight& eight, int32_t order, int32_t part) {
  const float scale = HadamardScale(order);
#pragma unroll
  for (int i = 0; i < kEight; ++i) eight.x[i] *= scale;
#pragma unroll
  for (int32_t distance = 1; distance < kEight; distance *= 2) {
    if (distance >= order) continue;
#pragma unroll
    for (int i = 0; i < kEight; ++i) {
      if ((i & distance) != 0) continue;
      const float a = eight.x[i];
      const float b = eight.x[i + distance];
      eight.x[i] = a + b;
      eight.x[i + distance] = a - b;
    }
  }
  for (int32_t distance = kEight; distance < order; distance *= 2) {
    const int32_t step = distance / kEight;
    const bool upper = (part & step) != 0;
#pragma unroll
    for (int i = 0; i < kEight; ++i) {
      const float other = __shfl_xor_sync(kAllLanes, eight.x[i], step);
      eight.x[i] = upper ? other - eight.x[i] : eight.x[i] + other;
    }
  }
}

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_CODEC_VECTOR_LANES_CUH_
