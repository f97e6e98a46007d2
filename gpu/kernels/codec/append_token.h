#ifndef DECANT_GPU_KERNELS_CODEC_APPEND_TOKEN_H_
#define DECANT_GPU_KERNELS_CODEC_APPEND_TOKEN_H_

#include "common/kv/rows.h"
#include "gpu/device/device.h"

namespace decant {

struct AppendTokenArgs {
  PageArena arena;
  const SequenceRows* rows = nullptr;  // [sequences]
  int32_t sequences = 0;
  int32_t layer = 0;
  const StepAction* actions = nullptr;  // [sequences, layers, kv_heads]
  const float* k = nullptr;             // [sequences, kv_heads, head_dim], after rope; rows `kv_stride` floats apart
  const float* v = nullptr;
  int64_t kv_stride = 0;
  // The same keys before rope, rows `pre_rope_stride` floats apart; may be null where no row keeps keys so.
  const float* pre_rope_k = nullptr;
  int64_t pre_rope_stride = 0;
};
// Executes the planned actions of one layer: demotes the victim (decode its high slot to f32, re-encode it into the low
// slot, score and position go along; both tiers hold keys in one form), then encodes the new token, its key in the form
// of the high tier, into its high slot with score 0 and its position, and moves the token counts.
void AppendToken(Stream& stream, const AppendTokenArgs& args);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_CODEC_APPEND_TOKEN_H_
