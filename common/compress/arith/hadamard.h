// Block Hadamard rotation (SAW-INT4, arXiv 2604.19157; together.ai's block-diagonal rotation): every contiguous block
// of `order` channels is multiplied by the orthonormal Sylvester matrix, so that one outlier channel spreads over its
// block. The matrix is symmetric: applying it twice gives the input back, and q.k is unchanged when both are rotated.
// Queries are rotated when they read rotated keys; outputs when values were rotated.
//
// Values are scaled by 1 / sqrt(order) first, then go through butterflies of distance 1, 2, 4, ...: (a, b) -> (a + b, a
// - b).
#ifndef DECANT_COMMON_COMPRESS_ARITH_HADAMARD_H_
#define DECANT_COMMON_COMPRESS_ARITH_HADAMARD_H_

#include <cstdint>

#include "common/base/host_device.h"

namespace decant {

// A power of two that divides head_dim; 1 leaves everything as it is.
DECANT_HOST_DEVICE constexpr bool IsHadamardOrder(int32_t order, int32_t head_dim) {
  return order > 0 && (order & (order - 1)) == 0 && head_dim > 0 && head_dim % order == 0;
}

// 1 / sqrt(order), correctly rounded and the same on every device.
DECANT_HOST_DEVICE constexpr float HadamardScale(int32_t order) {
  float scale = 1.0f;
  for (; order >= 4; order /= 4) scale *= 0.5f;
  return order == 2 ? scale * 0.70710678f : scale;
}

// One block, in place.
DECANT_HOST_DEVICE void RotateBlock(float* x, int32_t order) {
  const float scale = HadamardScale(order);
  for (int32_t i = 0; i < order; ++i) x[i] *= scale;
  for (int32_t distance = 1; distance < order; distance *= 2) {
    for (int32_t start = 0; start < order; start += 2 * distance) {
      for (int32_t i = start; i < start + distance; ++i) {
        const float a = x[i];
        const float b = x[i + distance];
        x[i] = a + b;
        x[i + distance] = a - b;
      }
    }
  }
}

// A head's vector, in place. REQUIRES: IsHadamardOrder(order, head_dim).
DECANT_HOST_DEVICE void RotateHadamard(float* x, int32_t head_dim, int32_t order) {
  for (int32_t start = 0; start < head_dim; start += order) RotateBlock(x + start, order);
}

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_ARITH_HADAMARD_H_
