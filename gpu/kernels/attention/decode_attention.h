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
  // [positions, head_dim] as RopeAngles makes them for positions 0, 1, ...: all that any row has seen. May be null
  // where no row keeps keys before rope.
  const float* angles = nullptr;
  float scale = 0;       // 1 / sqrt(head_dim)
  float* out = nullptr;  // [sequences, q_heads, head_dim]; rows `out_stride` floats apart
  int64_t out_stride = 0;
  float* scratch = nullptr;    // DecodeAttentionScratchBytes
  int64_t scratch_tokens = 0;  // >= the most tokens any head holds
  // Whether any row may have a read policy; where it is known that none has, a device need not look.
  bool may_choose_blocks = true;
  // [sequences] or null: bytes of keys, values, their scales and read statistics that the step reads, added to.
  int64_t* bytes_read = nullptr;
};
// For steps of up to `sequences` sequences.
int64_t DecodeAttentionScratchBytes(const Device& device, const Geometry& geometry, int32_t sequences,
                                    int64_t scratch_tokens);
// One query token per sequence attends to every token its rows hold, straight from the compressed pages: one pass per
// kv head, shared by the query heads of its group; a head without tokens gives zeros. Rows whose online policy looks at
// scores get the step's attention, over the group its maximum or mean, added to the score of every tracked token
// (common/compress/arith/score_policy.h). Rows with a read policy have only the blocks read that it chooses
// (block_choice.h): the softmax is over those.
//
// A tier's key form says what the query needs: it is balanced and rotated once per head and tier. Keys before rope are
// rotated one by one as they are decoded, to their position or, under kSinksAndRecent, their place in what is held
// (common/compress/arith/read_position.h); such tiers hold plain floats or one pair per vector.
void DecodeAttention(Stream& stream, const DecodeAttentionArgs& args);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_ATTENTION_DECODE_ATTENTION_H_
