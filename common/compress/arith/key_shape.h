// What a KeyForm does to keys before they are stored and to the queries that read them: the product q.k stays.
//
// The balancer comes first and the rotation after it, so that both may be in use (compression-methods, section 5).
// Rotary embedding is no part of this: keys before it are stored as they are and rotated when they are read.
#ifndef DECANT_COMMON_COMPRESS_ARITH_KEY_SHAPE_H_
#define DECANT_COMMON_COMPRESS_ARITH_KEY_SHAPE_H_

#include <cstdint>

#include "common/base/host_device.h"
#include "common/compress/arith/balance.h"
#include "common/compress/arith/hadamard.h"
#include "common/kv/format.h"

namespace decant {

// Whether ShapeKey changes anything.
DECANT_HOST_DEVICE constexpr bool IsShaped(const KeyForm& form) { return form.hadamard != 0 || form.balanced != 0; }

DECANT_HOST_DEVICE constexpr int32_t HadamardOrder(const KeyForm& form) { return int32_t{1} << form.hadamard; }

// k and q: [head_dim], in place; balance: [head_dim] of a balanced form. REQUIRES: the Hadamard order divides head_dim.
DECANT_HOST_DEVICE void ShapeKey(const KeyForm& form, const float* balance, int32_t head_dim, float* k) {
  if (form.balanced != 0) BalanceKey(balance, head_dim, k);
  if (form.hadamard != 0) RotateHadamard(k, head_dim, HadamardOrder(form));
}
DECANT_HOST_DEVICE void ShapeQuery(const KeyForm& form, const float* balance, int32_t head_dim, float* q) {
  if (form.balanced != 0) BalanceQuery(balance, head_dim, q);
  if (form.hadamard != 0) RotateHadamard(q, head_dim, HadamardOrder(form));
}

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_ARITH_KEY_SHAPE_H_
