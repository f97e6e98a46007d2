// Which blocks of kStatisticsBlock tokens a step reads (Quest, compression-methods.md section 3), for one kv head on
// one thread: the blocks whose bound on q.k is largest, and always the last.
#ifndef DECANT_GPU_KERNELS_ATTENTION_BLOCK_CHOICE_H_
#define DECANT_GPU_KERNELS_ATTENTION_BLOCK_CHOICE_H_

#include <cstdint>

#include "common/kv/rows.h"
#include "gpu/kernels/attention/attention_range.h"

namespace decant {

inline int32_t BlocksOf(int32_t tokens) { return (tokens + kStatisticsBlock - 1) / kStatisticsBlock; }

// Whether a step in `layer` leaves out tokens of this head: the policy asks for fewer blocks than there are, and all
// tokens stand in a high tier with statistics.
bool ChoosesBlocks(const SequenceRows& rows, const HeadState& head, int32_t layer);

// bounds[b], b in [first, end): no q.k of block b and a query head of the range's group is larger, rounding aside.
// Before the attention's scale. A NaN counts as infinity, so that its block is read.
void BlockBounds(const AttentionRange& range, int32_t first, int32_t end, float* bounds);

// Writes the chosen blocks, ascending, to `blocks` and gives their number: max(1, read.tokens / kStatisticsBlock),
// those of the largest bounds (of equal ones the earlier) among all but the last, and the last. `bounds` and `blocks`
// have room for all blocks. REQUIRES: ChoosesBlocks.
int32_t ChooseBlocks(const AttentionRange& range, float* bounds, int32_t* blocks);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_ATTENTION_BLOCK_CHOICE_H_
