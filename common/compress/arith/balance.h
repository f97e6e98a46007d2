// The channel balancer of MiKV (arXiv 2402.18096): b = sqrt(max|q| / max|k|) per layer, head and channel, made once in
// prefill. Keys are stored as b * k and read with q / b: the product is unchanged, and key outliers move to the
// queries, which are not quantised. Of grouped queries the largest of the group counts.
#ifndef DECANT_COMMON_COMPRESS_ARITH_BALANCE_H_
#define DECANT_COMMON_COMPRESS_ARITH_BALANCE_H_

#include <cmath>
#include <cstdint>

#include "common/base/half.h"
#include "common/base/host_device.h"

namespace decant {

DECANT_HOST_DEVICE bool IsFiniteAbove0(float x) { return x > 0.0f && x < BitsToFloat(0x7f800000u); }

// The factor as it is stored and used on both sides, so that its rounding cancels. 1 where either maximum is 0 or not
// finite; otherwise kept within fp16's normal numbers.
DECANT_HOST_DEVICE Fp16 FitBalance(float largest_q, float largest_k) {
  if (!IsFiniteAbove0(largest_q) || !IsFiniteAbove0(largest_k)) return ToFp16(1.0f);
  // Two roots: the quotient of two finite numbers may not be finite.
  const float factor = sqrtf(largest_q) / sqrtf(largest_k);
  const float least = 6.103515625e-5f;
  const float most = 65504.0f;
  return ToFp16(factor < least ? least : factor > most ? most : factor);
}

// balance: [head_dim], factors as floats: so they travel in frames and stand beside rows.
DECANT_HOST_DEVICE void BalanceKey(const float* balance, int32_t head_dim, float* k) {
  for (int32_t c = 0; c < head_dim; ++c) k[c] *= balance[c];
}
DECANT_HOST_DEVICE void BalanceQuery(const float* balance, int32_t head_dim, float* q) {
  for (int32_t c = 0; c < head_dim; ++c) q[c] /= balance[c];
}

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_ARITH_BALANCE_H_
