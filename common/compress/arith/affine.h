// Asymmetric quantisation of one group: scale = (max - min) / (codes in use - 1) and zero = min, both rounded to fp16;
// codes are made with the rounded pair and clamped, so that what is read back is what was measured (diffkv.md
// section 3).
//
// Defined for every input: NaN counts as 0 and everything beyond fp16's range as its end. A constant vector has scale 0
// and codes 0. Every step is one correctly rounded f32 operation, so any schedule gives the same bytes; compilers must
// not fuse them (-ffp-contract=off, nvcc -fmad=false).
#ifndef DECANT_COMMON_COMPRESS_ARITH_AFFINE_H_
#define DECANT_COMMON_COMPRESS_ARITH_AFFINE_H_

#include <cstdint>

#include "common/base/half.h"
#include "common/base/host_device.h"

namespace decant {

inline constexpr float kLargestHalf = 65504.0f;
// Adding it to a float in [0, 2^22] leaves the nearest integer, ties to even, in the low bits.
inline constexpr float kRoundingShift = 8388608.0f;

DECANT_HOST_DEVICE constexpr uint32_t MaxCode(int32_t bits) { return (1u << bits) - 1u; }

// The largest code where only `levels` of the codes are in use; 0, or more than there are: all of them.
DECANT_HOST_DEVICE constexpr uint32_t LargestCode(int32_t bits, int32_t levels) {
  return levels > 1 && static_cast<uint32_t>(levels) <= MaxCode(bits) ? static_cast<uint32_t>(levels) - 1u
                                                                      : MaxCode(bits);
}

DECANT_HOST_DEVICE float TameValue(float x) {
  const float number = x == x ? x : 0.0f;
  const float low = number > -kLargestHalf ? number : -kLargestHalf;
  return low < kLargestHalf ? low : kLargestHalf;
}

// What is stored with the codes.
struct AffinePair {
  Fp16 scale;
  Fp16 zero;
};

// `low` and `high` are the smallest and largest tame value of the vector; `levels` as in LargestCode.
DECANT_HOST_DEVICE AffinePair FitAffine(float low, float high, int32_t bits, int32_t levels = 0) {
  const float scale = (high - low) / static_cast<float>(LargestCode(bits, levels));
  // Two levels can be further apart than fp16 reaches. Adding 0 makes one zero of the two: which one a minimum returns
  // depends on the schedule.
  return AffinePair{ToFp16(scale < kLargestHalf ? scale : kLargestHalf), ToFp16(low + 0.0f)};
}

// 1 / scale, or 0 for a constant vector.
DECANT_HOST_DEVICE float InverseScale(float scale) { return scale > 0.0f ? 1.0f / scale : 0.0f; }

// `zero` and `inverse` come from the stored pair.
DECANT_HOST_DEVICE uint32_t AffineCode(float tame, float zero, float inverse, int32_t bits, int32_t levels = 0) {
  const float steps = (tame - zero) * inverse;
  const float largest = static_cast<float>(LargestCode(bits, levels));
  const float positive = steps > 0.0f ? steps : 0.0f;
  const float clamped = positive < largest ? positive : largest;
  return FloatBits(clamped + kRoundingShift) & MaxCode(bits);
}

DECANT_HOST_DEVICE float AffineValue(uint32_t code, float scale, float zero) {
  return static_cast<float>(code) * scale + zero;
}

// Codes to codes of half the width where both share min and max: the exact nearest, (q + 8) / 17 and (q + 2) / 5. The
// released code's form is off by one at q = 9 and q = 3 (defect D11).
DECANT_HOST_DEVICE constexpr uint32_t Requantise8To4(uint32_t code) { return (code + 8) / 17; }
DECANT_HOST_DEVICE constexpr uint32_t Requantise4To2(uint32_t code) { return (code + 2) / 5; }

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_ARITH_AFFINE_H_
