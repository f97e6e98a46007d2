// Moving a key that was rotated for one position to another: what StreamingLLM (mit-han-lab/streaming-llm) gets by
// keeping keys before RoPE and rotating them by their place in the cache, for keys that were stored after it. Channel i
// is paired with i + rotary_dim / 2, as Llama does; rotations of a pair add up, so moving by the difference equals
// rotating anew.
#ifndef DECANT_COMMON_COMPRESS_ARITH_ROPE_SHIFT_H_
#define DECANT_COMMON_COMPRESS_ARITH_ROPE_SHIFT_H_

#include <cmath>
#include <cstdint>

#include "common/base/host_device.h"

namespace decant {

// In place. inverse_frequency: [rotary_dim / 2], radians per position, whatever scaling the model uses; `positions` is
// the new position minus the old one.
DECANT_HOST_DEVICE void ShiftRope(float* k, int32_t rotary_dim, const float* inverse_frequency, int32_t positions) {
  const int32_t half = rotary_dim / 2;
  for (int32_t i = 0; i < half; ++i) {
    // In double: the angle of a far position loses its last bits in float.
    const double angle = static_cast<double>(positions) * static_cast<double>(inverse_frequency[i]);
    const float c = static_cast<float>(cos(angle));
    const float s = static_cast<float>(sin(angle));
    const float a = k[i];
    const float b = k[i + half];
    k[i] = a * c - b * s;
    k[i + half] = b * c + a * s;
  }
}

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_ARITH_ROPE_SHIFT_H_
