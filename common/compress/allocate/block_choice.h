// Which blocks one decode step reads: Quest (mit-han-lab/Quest; score/block_bound.h has the bounds). Nothing is
// evicted.
#ifndef DECANT_COMMON_COMPRESS_ALLOCATE_BLOCK_CHOICE_H_
#define DECANT_COMMON_COMPRESS_ALLOCATE_BLOCK_CHOICE_H_

#include <algorithm>
#include <cstdint>

#include "absl/types/span.h"
#include "common/compress/allocate/keep.h"

namespace decant {

// Blocks for a budget of tokens: max(3, budget / block), as the released evaluation.
inline int32_t QuestBlocks(int32_t token_budget, int32_t block) { return std::max(3, token_budget / block); }

// Marks the blocks to read: the last one, which is being filled, and the best count - 1 of the others; ties to the
// earlier. bounds: one per block, the last one's unused. Returns how many. A count below 1 still reads the last.
inline int32_t ChooseBlocks(absl::Span<const float> bounds, int32_t count, absl::Span<uint8_t> chosen) {
  if (bounds.empty()) return 0;
  const size_t others = bounds.size() - 1;
  chosen[others] = 1;
  return 1 + static_cast<int32_t>(KeepBest(bounds.subspan(0, others), count - 1, chosen.subspan(0, others)));
}

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_ALLOCATE_BLOCK_CHOICE_H_
