// Pooling of a row of scores along the tokens, so that the neighbours of an important token are kept too: SnapKV
// (FasterDecoding/SnapKV snapkv_utils.py), stride 1 and a padding of half the kernel.
#ifndef DECANT_COMMON_COMPRESS_SCORE_POOL_H_
#define DECANT_COMMON_COMPRESS_SCORE_POOL_H_

#include <cstdint>

#include "absl/types/span.h"

namespace decant {

enum class Pooling : uint8_t {
  kNone = 0,
  kAverage = 1,  // zeros beyond the ends, which count: torch avg_pool1d
  kMax = 2,      // nothing beyond the ends: torch max_pool1d
};

// row: [tokens] -> out: [tokens], which must not overlap. The row holds the candidates alone, not the window behind
// them. REQUIRES: kernel odd and positive.
void PoolScores(Pooling pooling, int32_t kernel, absl::Span<const float> row, absl::Span<float> out);

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_SCORE_POOL_H_
