// Scores from the attention that the last tokens pay to all: the scalar reference. SnapKV sums over an observation
// window (FasterDecoding/SnapKV), H2O over every query (FMInference/H2O), KVzip takes the maximum over the tokens of a
// repeated context (snu-mllab/KVzip attention/score.py).
#ifndef DECANT_COMMON_COMPRESS_SCORE_WINDOW_ATTENTION_H_
#define DECANT_COMMON_COMPRESS_SCORE_WINDOW_ATTENTION_H_

#include <cstdint>

#include "absl/types/span.h"

namespace decant {

enum class QueryReduction : uint8_t { kSum = 0, kMax = 1 };

// One query head. q: [queries, head_dim], the last tokens in order; k: [tokens, head_dim] of its key-value head, both
// after RoPE; out: [tokens]. Query i stands at tokens - queries + i and sees the tokens up to itself. Rows are
// softmaxed in f32 with their maximum taken out, reduced in ascending order of queries. REQUIRES: queries <= tokens and
// the sizes fit.
void WindowAttention(QueryReduction reduction, absl::Span<const float> q, absl::Span<const float> k, int32_t head_dim,
                     float scale, absl::Span<float> out);

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_SCORE_WINDOW_ATTENTION_H_
