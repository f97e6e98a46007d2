// Which blocks of kStatisticsBlock tokens a step reads (Quest, compression-methods.md section 3), for one kv head on
// one thread: the blocks whose bound on q.k is largest, and always the last. block_choice_cuda.h does it for a batch.
#ifndef DECANT_GPU_KERNELS_ATTENTION_BLOCK_CHOICE_H_
#define DECANT_GPU_KERNELS_ATTENTION_BLOCK_CHOICE_H_

#include <cstdint>

#include "common/base/host_device.h"
#include "common/kv/rows.h"
#include "gpu/kernels/attention/attention_range.h"

namespace decant {

DECANT_HOST_DEVICE int32_t BlocksOf(int32_t tokens) { return (tokens + kStatisticsBlock - 1) / kStatisticsBlock; }

// Blocks that a step of the policy reads, the last one included.
DECANT_HOST_DEVICE int32_t BlocksRead(const SequenceRows& rows) {
  const int32_t blocks = rows.read.tokens / kStatisticsBlock;
  return blocks > 1 ? blocks : 1;
}

// Whether a step in `layer` leaves out tokens of this head: the policy asks for fewer blocks than there are, and all
// tokens stand in a high tier with statistics.
DECANT_HOST_DEVICE bool ChoosesBlocks(const SequenceRows& rows, const HeadState& head, int32_t layer) {
  // The bound is one on keys as the query meets them: keys that attention still has to rotate have none.
  return rows.read.tokens > 0 && rows.key_forms[kHigh] == KeyForm{} && layer >= rows.read.dense_layers &&
         FormatOf(rows.formats[kHigh]).statistics && head.tokens[kLow] == 0 && head.tokens[kFixed] == 0 &&
         BlocksOf(head.tokens[kHigh]) > BlocksRead(rows);
}

// bounds[b], b in [first, end): no q.k of block b and a query head of the range's group is larger, rounding aside.
// Before the attention's scale. A NaN counts as infinity, so that its block is read.
void BlockBounds(const AttentionRange& range, int32_t first, int32_t end, float* bounds);

// Writes the chosen blocks, ascending, to `blocks` and gives their number: BlocksRead,
// those of the largest bounds (of equal ones the earlier) among all but the last, and the last. `bounds` and `blocks`
// have room for all blocks. REQUIRES: ChoosesBlocks.
int32_t ChooseBlocks(const AttentionRange& range, float* bounds, int32_t* blocks);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_ATTENTION_BLOCK_CHOICE_H_
