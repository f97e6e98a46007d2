// Tokens that no allocator may drop: sinks (StreamingLLM), the observation window (SnapKV), what follows the context
// (KVzip). A protected token's score is +infinity.
#ifndef DECANT_COMMON_COMPRESS_SCORE_PROTECT_H_
#define DECANT_COMMON_COMPRESS_SCORE_PROTECT_H_

#include <algorithm>
#include <cstdint>
#include <limits>

#include "absl/types/span.h"

namespace decant {

inline constexpr float kProtected = std::numeric_limits<float>::infinity();

// Protects the first `first` and last `last` tokens of a row, as many as there are. REQUIRES: neither is negative.
inline void ProtectEnds(int32_t first, int32_t last, absl::Span<float> row) {
  const size_t front = std::min(static_cast<size_t>(first), row.size());
  const size_t back = std::min(static_cast<size_t>(last), row.size());
  std::fill(row.begin(), row.begin() + static_cast<std::ptrdiff_t>(front), kProtected);
  std::fill(row.end() - static_cast<std::ptrdiff_t>(back), row.end(), kProtected);
}

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_SCORE_PROTECT_H_
