// Quantisation to any number of levels from 2 to 256: arith/affine.h, which has 2^bits of them, with levels in the
// place of bits. Numbers between the powers buy points of the rate curve once codes are entropy-coded (code/block.h);
// in pages a code takes BitsOfLevels bits. At 4, 16 and 256 levels the two give the same bytes.
#ifndef DECANT_COMMON_COMPRESS_ARITH_LEVELS_H_
#define DECANT_COMMON_COMPRESS_ARITH_LEVELS_H_

#include <cstdint>

#include "common/base/host_device.h"
#include "common/compress/arith/affine.h"

namespace decant {

inline constexpr int32_t kFewestLevels = 2;
inline constexpr int32_t kMostLevels = 256;

// The bits of a packed code: 1, 2, 4 or 8.
DECANT_HOST_DEVICE constexpr int32_t BitsOfLevels(int32_t levels) {
  return levels <= 2 ? 1 : levels <= 4 ? 2 : levels <= 16 ? 4 : 8;
}

// `low` and `high` are the smallest and largest tame value of the group. One step from end to end of fp16 is more than
// fp16 holds: with 2 levels the upper one is then cut.
DECANT_HOST_DEVICE AffinePair FitLevels(float low, float high, int32_t levels) {
  const float step = (high - low) / static_cast<float>(levels - 1);
  return AffinePair{ToFp16(step < kLargestHalf ? step : kLargestHalf), ToFp16(low + 0.0f)};
}

// Below `levels`; `zero` and `inverse` (InverseScale) come from the stored pair. AffineValue is the way back.
DECANT_HOST_DEVICE uint32_t LevelCode(float tame, float zero, float inverse, int32_t levels) {
  const float steps = (tame - zero) * inverse;
  const float largest = static_cast<float>(levels - 1);
  const float positive = steps > 0.0f ? steps : 0.0f;
  const float clamped = positive < largest ? positive : largest;
  return FloatBits(clamped + kRoundingShift) & 0xffu;
}

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_ARITH_LEVELS_H_
