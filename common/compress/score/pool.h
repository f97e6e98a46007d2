// Pooling of a row of scores along the tokens, so that the neighbours of an important token are kept too: SnapKV
// (FasterDecoding/SnapKV snapkv_utils.py), stride 1 and a padding of half the kernel.
#ifndef DECANT_COMMON_COMPRESS_SCORE_POOL_H_
#define DECANT_COMMON_COMPRESS_SCORE_POOL_H_

#include <cstdint>

#include "absl/types/span.h"
#include "common/compress/recipe.h"

namespace decant {

// row: [tokens] -> out: [tokens], which must not overlap. The row holds the candidates alone, not the window behind
// them. Beyond the ends an average counts zeros, as torch's avg_pool1d, and a maximum nothing, as its max_pool1d.
// REQUIRES: kernel odd and positive.
void PoolScores(Pooling pooling, int32_t kernel, absl::Span<const float> row, absl::Span<float> out);

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_SCORE_POOL_H_
