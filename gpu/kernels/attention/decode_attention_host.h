#ifndef DECANT_GPU_KERNELS_ATTENTION_DECODE_ATTENTION_HOST_H_
#define DECANT_GPU_KERNELS_ATTENTION_DECODE_ATTENTION_HOST_H_

#include "gpu/kernels/attention/decode_attention.h"

namespace decant {

int64_t DecodeAttentionHostScratchBytes(int threads, const Geometry& geometry, int64_t scratch_tokens);
void DecodeAttentionHost(Stream& stream, const DecodeAttentionArgs& args);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_ATTENTION_DECODE_ATTENTION_HOST_H_
