// The smallest and largest key per channel of a block of tokens (read statistics), and what they bound: with m and M
// the ends of channel i, q.k <= sum_i max(q_i m_i, q_i M_i) for every key of the block (compression-methods.md section
// 3). Rotating keys and query alike changes neither side's truth: the ends are those of the keys as they are stored.
#ifndef DECANT_COMMON_COMPRESS_ARITH_KEY_RANGE_H_
#define DECANT_COMMON_COMPRESS_ARITH_KEY_RANGE_H_

#include <cstdint>

#include "common/base/half.h"
#include "common/base/host_device.h"

namespace decant {

// The largest bf16 that is not above x. NaN gives -infinity: a block that holds one is never taken for a small one.
DECANT_HOST_DEVICE Bf16 RoundDown(float x) {
  if (!(x == x)) return Bf16{0xff80u};
  const uint32_t bits = FloatBits(x);
  const uint32_t away = (bits >> 31) != 0 && (bits & 0xffffu) != 0 ? 1u : 0u;
  return Bf16{static_cast<uint16_t>((bits >> 16) + away)};
}

// The smallest bf16 that is not below x. NaN gives infinity.
DECANT_HOST_DEVICE Bf16 RoundUp(float x) {
  if (!(x == x)) return Bf16{0x7f80u};
  const uint32_t bits = FloatBits(x);
  const uint32_t away = (bits >> 31) == 0 && (bits & 0xffffu) != 0 ? 1u : 0u;
  return Bf16{static_cast<uint16_t>((bits >> 16) + away)};
}

// The ends of one channel over a block's keys so far. Of equal ends the earlier stays.
struct KeyEnds {
  Bf16 smallest{0};
  Bf16 largest{0};
};
DECANT_HOST_DEVICE KeyEnds EndsOf(float x) { return KeyEnds{RoundDown(x), RoundUp(x)}; }
DECANT_HOST_DEVICE KeyEnds Widened(const KeyEnds& ends, float x) {
  const KeyEnds next = EndsOf(x);
  return KeyEnds{ToFloat(next.smallest) < ToFloat(ends.smallest) ? next.smallest : ends.smallest,
                 ToFloat(next.largest) > ToFloat(ends.largest) ? next.largest : ends.largest};
}

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_ARITH_KEY_RANGE_H_
