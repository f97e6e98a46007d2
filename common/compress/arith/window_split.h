// Where the halves of a split row's tokens stand (KIVI, compression-methods.md section 4.2): of n tokens and a window
// of w, keys are frozen a window at a time, values one by one as they leave the newest w.
#ifndef DECANT_COMMON_COMPRESS_ARITH_WINDOW_SPLIT_H_
#define DECANT_COMMON_COMPRESS_ARITH_WINDOW_SPLIT_H_

#include <cstdint>

#include "common/base/host_device.h"

namespace decant {

DECANT_HOST_DEVICE constexpr int32_t FrozenKeys(int32_t tokens, int32_t window) { return tokens / window * window; }

DECANT_HOST_DEVICE constexpr int32_t FrozenValues(int32_t tokens, int32_t window) {
  return tokens > window ? tokens - window : 0;
}

// How many of the positions [first, first + span) are below `border`.
DECANT_HOST_DEVICE constexpr int32_t CountBelow(int32_t border, int32_t first, int32_t span) {
  const int32_t below = border - first;
  return below < 0 ? 0 : below < span ? below : span;
}

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_ARITH_WINDOW_SPLIT_H_
