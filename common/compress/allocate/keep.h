// The order in which tokens are kept, shared by every allocator, and the uniform budget.
//
// Scores rank from high to low; equal ones rank by their place, lower first; NaN ranks below everything. So what is
// kept is a function of the scores alone, on every device. A score of +infinity is protected: kept whatever the budget.
//
// A selection is one byte per score, 1 = kept, in the order of the scores.
#ifndef DECANT_COMMON_COMPRESS_ALLOCATE_KEEP_H_
#define DECANT_COMMON_COMPRESS_ALLOCATE_KEEP_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace decant {

// Keeps the `count` best of all scores, never fewer than the protected ones, and returns how many. A negative count is
// 0, one beyond the scores is all.
int64_t KeepBest(absl::Span<const float> scores, int64_t count, absl::Span<uint8_t> kept);

// The same for each row of scores [rows, tokens] by itself: every head gets the same number (SnapKV; "pair-uniform" of
// KVzip).
int64_t KeepBestOfRows(absl::Span<const float> scores, int32_t tokens, int64_t count, absl::Span<uint8_t> kept);

// Ascending positions of a row's kept tokens.
std::vector<int32_t> KeptPositions(absl::Span<const uint8_t> kept);

// Tokens that a uniform budget keeps of `tokens`: at most `cap`; or the part `ratio`, rounded down as int(ratio *
// tokens).
int32_t KeepUnderCap(int32_t cap, int32_t tokens);
int64_t KeepOfRatio(double ratio, int64_t tokens);

// The value at descending rank `rank` (0 = the largest) in the order above. REQUIRES: 0 <= rank < scores.size().
float ScoreAtRank(absl::Span<const float> scores, int64_t rank);

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_ALLOCATE_KEEP_H_
