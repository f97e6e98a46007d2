#ifndef DECANT_GPU_KERNELS_ATTENTION_DECODE_ATTENTION_H_
#define DECANT_GPU_KERNELS_ATTENTION_DECODE_ATTENTION_H_

#include <cstdint>

#include "common/kv/rows.h"
#include "gpu/device/device.h"

namespace decant {

inline constexpr int32_t kMaxAttentionGroup = 16;     // query heads per kv head
inline constexpr int32_t kMaxAttentionHeadDim = 256;  // a multiple of 8, from 32

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
  float* scratch = nullptr;    // DecodeAttentionScratchBytes
  int64_t scratch_tokens = 0;  // >= the most tokens any head holds
  // [sequences] or null: bytes of keys, values, their scales and read statistics that the step reads, added to.
  int64_t* bytes_read = nullptr;
};
int64_t DecodeAttentionScratchBytes(const Device& device, const Geometry& geometry, int64_t scratch_tokens);
// One query token per sequence attends to every token its rows hold, straight from the compressed pages: one pass per
// kv head, shared by the query heads of its group; a head without tokens gives zeros. Rows with an online policy get
// the step's attention, the maximum over the group, added to the score of every tracked token. Rows with a read policy
// have only the blocks read that it chooses (block_choice.h): the softmax is over those.
void DecodeAttention(Stream& stream, const DecodeAttentionArgs& args);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_ATTENTION_DECODE_ATTENTION_H_
