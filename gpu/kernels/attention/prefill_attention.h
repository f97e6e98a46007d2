#ifndef DECANT_GPU_KERNELS_ATTENTION_PREFILL_ATTENTION_H_
#define DECANT_GPU_KERNELS_ATTENTION_PREFILL_ATTENTION_H_

#include <cstdint>

#include "common/compress/profile.h"
#include "gpu/device/device.h"

namespace decant {

// Where the normalised attention that each key received is added up, per query head, over the queries at positions >=
// from, a key's own query included or not.
struct AttentionSums {
  float* sums = nullptr;  // [q_heads, sum_stride]
  int32_t from = 0;
  bool own_query = true;
};
inline constexpr int32_t kMaxAttentionSums = 8;

// Where the largest attention that each key of [begin, end) received goes, per kv head: the maximum over the queries
// and the group's query heads, and over what stands there already. This attention is a softmax of its own, over the
// keys [0, sinks), [begin, end) and from `tail_from` up to the query's own: KVzip's score of a repeated context chunk
// (snu-mllab/KVzip attention/score.py, here in f32). sinks <= begin <= end <= tail_from <= first_query.
struct ReplayPeaks {
  float* peaks = nullptr;  // [kv_heads, stride], indexed by the key's position; null: nowhere
  int64_t stride = 0;
  int32_t sinks = 0;
  int32_t begin = 0;
  int32_t end = 0;
};

struct PrefillAttentionArgs {
  RunType run_type = RunType::kBf16;
  const float* q = nullptr;  // [queries, q_heads, head_dim] after rope; rows `q_stride` floats apart
  int64_t q_stride = 0;
  int32_t queries = 0;
  int32_t first_query = 0;  // position of q's first row; query i sees keys 0 .. first_query + i
  const void* k = nullptr;  // [kv_heads, capacity, head_dim] of the run type
  const void* v = nullptr;
  int64_t capacity = 0;
  // Keys and values from position `tail_from` on lie apart, so that a cache is read on without being appended to:
  // [kv_heads, tail_capacity, head_dim]. Null: all lie in k and v.
  const void* tail_k = nullptr;
  const void* tail_v = nullptr;
  int64_t tail_capacity = 0;
  int32_t tail_from = 0;
  int32_t q_heads = 0;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;
  float scale = 0;
  float* out = nullptr;  // [queries, q_heads, head_dim]; rows `out_stride` floats apart; null: only sums and peaks
  int64_t out_stride = 0;
  AttentionSums sums[kMaxAttentionSums];  // the first `sum_count`
  int32_t sum_count = 0;
  int64_t sum_stride = 0;
  ReplayPeaks replay;
  void* scratch = nullptr;   // PrefillAttentionScratchBytes
  int32_t scratch_keys = 0;  // the `keys` that the scratch was made for, the same for all tiles of a layer
  int32_t packed_keys = 0;   // leading keys that an earlier tile of the layer has left packed in the scratch
};
// For calls of up to `queries` queries over up to `keys` keys with up to `signals` sums, a replay counting as one.
int64_t PrefillAttentionScratchBytes(const Device& device, RunType run_type, int32_t queries, int32_t keys,
                                     int32_t q_heads, int32_t kv_heads, int32_t head_dim, int32_t signals);
// Exact causal attention of a tile of queries over all keys so far, as tiled matrix products; sums of tiles add up to
// those of the whole prompt, and peaks of tiles are the larger of theirs.
void PrefillAttention(Stream& stream, const PrefillAttentionArgs& args);

void PrefillAttentionHost(Stream& stream, const PrefillAttentionArgs& args);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_ATTENTION_PREFILL_ATTENTION_H_
