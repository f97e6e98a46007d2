// One threshold over all (layer, head, position) of a request: KVzip's "pair" level (snu-mllab/KVzip
// attention/kvcache.py). Heads end up ragged, some with nothing.
//
// scores: [layers * heads * tokens]. Protected ones (+infinity: system prompt, query, window) are kept besides, and M
// is the number of the others.
#ifndef DECANT_COMMON_COMPRESS_ALLOCATE_GLOBAL_THRESHOLD_H_
#define DECANT_COMMON_COMPRESS_ALLOCATE_GLOBAL_THRESHOLD_H_

#include <cstdint>

#include "absl/types/span.h"

namespace decant {

// KVzip as released: the threshold is the score at descending rank max(int(ratio * M) - 1, 0), and only what is above
// it is kept: at most int(ratio * M) - 1, fewer when scores tie, nothing for a tiny ratio; everything from ratio 1 on.
// Returns how many of the M are kept.
int64_t KeepAboveThreshold(absl::Span<const float> scores, double ratio, absl::Span<uint8_t> kept);

// Exactly int(ratio * M) of the M, ties to the lower (layer, head, position). Returns that number.
int64_t KeepExactPart(absl::Span<const float> scores, double ratio, absl::Span<uint8_t> kept);

// AdaKV's allocation within a layer (arXiv 2407.11550; NVIDIA/kvpress adakv_press.py): int(ratio * tokens) per head on
// average, shared out over the heads by score, of which every head first gets the `safeguard` part by its own ranking.
// scores: [heads, tokens] of one layer. Returns how many are kept: heads * int(ratio * tokens), or the protected ones
// when those are more.
int64_t KeepAcrossHeads(absl::Span<const float> scores, int32_t tokens, double ratio, double safeguard,
                        absl::Span<uint8_t> kept);

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_ALLOCATE_GLOBAL_THRESHOLD_H_
