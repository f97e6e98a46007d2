#ifndef DECANT_GPU_KERNELS_ATTENTION_PREFILL_ATTENTION_H_
#define DECANT_GPU_KERNELS_ATTENTION_PREFILL_ATTENTION_H_

#include <cstdint>

#include "common/compress/profile.h"
#include "gpu/device/device.h"

namespace decant {

struct PrefillAttentionArgs {
  RunType run_type = RunType::kBf16;
  const float* q = nullptr;  // [queries, q_heads, head_dim] after rope; rows `q_stride` floats apart
  int64_t q_stride = 0;
  int32_t queries = 0;
  int32_t first_query = 0;  // position of q's first row; query i sees keys 0 .. first_query + i
  const void* k = nullptr;  // [kv_heads, capacity, head_dim] of the run type
  const void* v = nullptr;
  int64_t capacity = 0;
  int32_t q_heads = 0;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;
  float scale = 0;
  float* out = nullptr;  // [queries, q_heads, head_dim]; rows `out_stride` floats apart
  int64_t out_stride = 0;
  // Where the normalised attention that each key received is added up, per query head, over queries at positions >=
  // sum_from, a key's own query included or not; null: nowhere.
  float* sums = nullptr;  // [q_heads, sum_stride]
  int64_t sum_stride = 0;
  int32_t sum_from = 0;
  bool sum_own_query = true;
  void* scratch = nullptr;   // PrefillAttentionScratchBytes
  int32_t scratch_keys = 0;  // the `keys` that the scratch was made for, the same for all tiles of a layer
  int32_t packed_keys = 0;   // leading keys that an earlier tile of the layer has left packed in the scratch
};
// For calls of up to `queries` queries over up to `keys` keys.
int64_t PrefillAttentionScratchBytes(const Device& device, RunType run_type, int32_t queries, int32_t keys,
                                     int32_t q_heads, int32_t kv_heads, int32_t head_dim);
// Exact causal attention of a tile of queries over all keys so far, as tiled matrix products; sums of tiles add up to
// those of the whole prompt.
void PrefillAttention(Stream& stream, const PrefillAttentionArgs& args);

void PrefillAttentionHost(Device& device, const PrefillAttentionArgs& args);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_ATTENTION_PREFILL_ATTENTION_H_
