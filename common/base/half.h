// The two 16-bit float types of stored bytes, as plain bits with exact conversions (round to nearest even), the same on
// host and device.
#ifndef DECANT_COMMON_BASE_HALF_H_
#define DECANT_COMMON_BASE_HALF_H_

#include <cstdint>
#include <cstring>

#include "common/base/host_device.h"

namespace decant {

struct Bf16 {
  uint16_t bits;
};
struct Fp16 {
  uint16_t bits;
};

DECANT_HOST_DEVICE uint32_t FloatBits(float x) {
  uint32_t u;
  memcpy(&u, &x, 4);
  return u;
}

DECANT_HOST_DEVICE float BitsToFloat(uint32_t u) {
  float x;
  memcpy(&x, &u, 4);
  return x;
}

DECANT_HOST_DEVICE float ToFloat(float x) { return x; }

DECANT_HOST_DEVICE float ToFloat(Bf16 x) { return BitsToFloat(static_cast<uint32_t>(x.bits) << 16); }

// NaN keeps its sign and becomes quiet.
DECANT_HOST_DEVICE Bf16 ToBf16(float x) {
  const uint32_t u = FloatBits(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return Bf16{static_cast<uint16_t>((u >> 16) | 0x40u)};
  return Bf16{static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16)};
}

DECANT_HOST_DEVICE float ToFloat(Fp16 h) {
  const uint32_t sign = static_cast<uint32_t>(h.bits & 0x8000u) << 16;
  const uint32_t rest = h.bits & 0x7fffu;
  if (rest >= 0x7c00u) return BitsToFloat(sign | 0x7f800000u | ((rest & 0x3ffu) << 13));
  if (rest >= 0x400u) return BitsToFloat(sign | ((rest << 13) + (112u << 23)));
  // Subnormal: rest * 2^-24 is exact in float.
  const float magnitude = static_cast<float>(rest) * 5.9604644775390625e-8f;
  return BitsToFloat(sign | FloatBits(magnitude));
}

// Values beyond the range become infinity.
DECANT_HOST_DEVICE Fp16 ToFp16(float x) {
  const uint32_t u = FloatBits(x);
  const uint32_t sign = (u >> 16) & 0x8000u;
  const uint32_t magnitude = u & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return Fp16{static_cast<uint16_t>(sign | 0x7e00u)};
  if (magnitude >= 0x477ff000u) return Fp16{static_cast<uint16_t>(sign | 0x7c00u)};
  if (magnitude >= 0x38800000u) {
    const uint32_t rebased = magnitude - (112u << 23);
    return Fp16{static_cast<uint16_t>(sign | ((rebased + 0xfffu + ((rebased >> 13) & 1u)) >> 13))};
  }
  // Subnormal: adding 0.5 aligns the units of 2^-24 with the float's last bits and rounds to even on the way.
  const float shifted = BitsToFloat(magnitude) + 0.5f;
  return Fp16{static_cast<uint16_t>(sign | (FloatBits(shifted) - 0x3f000000u))};
}

}  // namespace decant

#endif  // DECANT_COMMON_BASE_HALF_H_
