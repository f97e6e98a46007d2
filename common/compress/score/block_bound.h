// Quest (mit-han-lab/Quest, arXiv 2406.10774): from the smallest and largest key of a block of tokens, channel by
// channel, an upper bound of the product of a query with any key of the block.
#ifndef DECANT_COMMON_COMPRESS_SCORE_BLOCK_BOUND_H_
#define DECANT_COMMON_COMPRESS_SCORE_BLOCK_BOUND_H_

#include <cstdint>

#include "absl/types/span.h"

namespace decant {

// Tokens of a block, whatever the size of a page.
inline constexpr int32_t kQuestBlock = 16;

// Takes one more key into a block's extremes, all [head_dim]; `first` starts a block. Keys are those that attention
// will read: after rotation, and dequantised.
void WidenExtremes(absl::Span<const float> key, bool first, absl::Span<float> low, absl::Span<float> high);

// sum_c max(q_c * low_c, q_c * high_c), in ascending order of channels.
float BlockBound(absl::Span<const float> q, absl::Span<const float> low, absl::Span<const float> high);

// The bound for a key-value head: the largest of its query heads', so that what any of them needs is read.
// q: [group, head_dim].
float GroupBlockBound(absl::Span<const float> q, absl::Span<const float> low, absl::Span<const float> high);

// The part of the cache that one step reads: 1 / S for the extremes and K S / N for K blocks of S tokens (section 3.5
// of the paper), of N tokens. REQUIRES: tokens > 0.
double QuestReadFraction(int32_t block, int64_t blocks_read, int64_t tokens);

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_SCORE_BLOCK_BOUND_H_
