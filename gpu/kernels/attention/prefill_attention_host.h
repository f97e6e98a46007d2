#ifndef DECANT_GPU_KERNELS_ATTENTION_PREFILL_ATTENTION_HOST_H_
#define DECANT_GPU_KERNELS_ATTENTION_PREFILL_ATTENTION_HOST_H_

#include "gpu/kernels/attention/prefill_attention.h"

namespace decant {

int64_t PrefillAttentionScratchBytesHost(int threads, RunType run_type, int64_t capacity, int32_t kv_heads,
                                         int32_t head_dim);
void PrefillAttentionHost(Stream& stream, const PrefillAttentionArgs& args);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_ATTENTION_PREFILL_ATTENTION_HOST_H_
