#ifndef DECANT_GPU_KERNELS_ATTENTION_DECODE_ATTENTION_H_
#define DECANT_GPU_KERNELS_ATTENTION_DECODE_ATTENTION_H_

#include <cstdint>

#include "common/kv/rows.h"
#include "gpu/device/device.h"

namespace decant {

struct DecodeAttentionArgs {
  PageArena arena;
  const SequenceRows* rows = nullptr;  // [sequences]
  int32_t sequences = 0;
  int32_t layer = 0;
  const float* q = nullptr;  // [sequences, q_heads, head_dim], after rope; rows `q_stride` floats apart
  int64_t q_stride = 0;
  float scale = 0;       // 1 / sqrt(head_dim)
  float* out = nullptr;  // [sequences, q_heads, head_dim]; rows `out_stride` floats apart
  int64_t out_stride = 0;
  float* scratch = nullptr;    // [threads, group, scratch_tokens]
  int64_t scratch_tokens = 0;  // >= the most tokens any head holds
};
// One query token per sequence attends to every token its rows hold, straight from the compressed pages: one pass per
// kv head, shared by the query heads of its group. Rows with an online policy get the step's attention, the maximum
// over the group, added to the score of every tracked token.
void DecodeAttention(Stream& stream, const DecodeAttentionArgs& args);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_ATTENTION_DECODE_ATTENTION_H_
