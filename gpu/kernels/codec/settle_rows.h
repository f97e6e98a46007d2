#ifndef DECANT_GPU_KERNELS_CODEC_SETTLE_ROWS_H_
#define DECANT_GPU_KERNELS_CODEC_SETTLE_ROWS_H_

#include <cstdint>

#include "common/compress/recipe.h"
#include "common/kv/rows.h"
#include "gpu/device/device.h"

namespace decant {

struct SettleRowsArgs {
  PageArena arena;
  PageRing ring;
  const SequenceRows* rows = nullptr;  // one sequence of two tracked tiers; its length is that of the prompt
  Allocation allocation = Allocation::kAllHigh;
  ScoreSource source = ScoreSource::kNone;
  FormatId high = FormatId::kNone;  // those of the rows
  FormatId low = FormatId::kNone;
  int32_t most_high_tokens = 0;  // no head holds more in its high tier
  void* scratch = nullptr;       // SettleRowsScratchBytes
  int64_t* moved = nullptr;      // [2]: demoted and dropped tokens, added to
  int32_t* error = nullptr;      // set to 1 when pages ran out; the heads that found none stay as they were
};
// Gives the high tokens of every (layer, head) the tier that the prompt's policy has for them (ChoosePromptTier): low
// ones are re-encoded from their stored form behind the low tier, score and position go along, pruned ones leave, the
// others close up in their order. A prefix that came in the high format is thereby held like one that this request's
// prefill encoded; rows that already are remain bit for bit. Emptied pages go back to the ring before low pages are
// taken, head by head, so the ring's order does not depend on threads. A head may come to hold one page more than
// before, that of a low tier it did not have room in.
void SettleRows(Stream& stream, const SettleRowsArgs& args);

// The scratch that SettleRows needs on `device`.
int64_t SettleRowsScratchBytes(Device& device, const Geometry& geometry, FormatId low, int32_t most_high_tokens);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_CODEC_SETTLE_ROWS_H_
