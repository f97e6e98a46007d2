// What a token of a long prompt costs under a recipe once it is in pages, before anything is measured.
#ifndef DECANT_COMMON_COMPRESS_TOKEN_BYTES_H_
#define DECANT_COMMON_COMPRESS_TOKEN_BYTES_H_

#include "common/compress/recipe.h"
#include "common/kv/geometry.h"

namespace decant {

// Bytes per token of the prompt over all layers and kv heads, scales, zeros, scores, positions and statistics
// included; sinks, window and half-empty pages, whose part vanishes as the prompt grows, left out. The two ends differ
// only where the prompt itself decides, which is under thresholds.
struct BytesPerToken {
  double least = 0;
  double most = 0;
};

BytesPerToken BytesPerTokenOf(const Recipe& recipe, const Geometry& geometry);

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_TOKEN_BYTES_H_
