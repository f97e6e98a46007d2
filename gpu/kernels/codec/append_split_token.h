// The step of one head of a split row; host only, called inside AppendToken.
#ifndef DECANT_GPU_KERNELS_CODEC_APPEND_SPLIT_TOKEN_H_
#define DECANT_GPU_KERNELS_CODEC_APPEND_SPLIT_TOKEN_H_

#include "common/kv/rows.h"
#include "gpu/kernels/pages/slot.h"

namespace decant {

// k, v: [head_dim] f32 of the token at position *rows.length. Freezes what the step freezes (split_step.h), re-encoding
// it from its stored form, writes the token into the windows and moves the counts. Its pages have been taken.
void AppendSplitToken(const PageArena& arena, const SequenceRows& rows, const HeadRow& row, const float* k,
                      const float* v);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_CODEC_APPEND_SPLIT_TOKEN_H_
