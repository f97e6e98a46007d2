// The operations of prefill on a CUDA device; the contract of each stands in prefill_<op>.h.
#ifndef DECANT_GPU_KERNELS_ATTENTION_PREFILL_CUDA_H_
#define DECANT_GPU_KERNELS_ATTENTION_PREFILL_CUDA_H_

#include "gpu/kernels/attention/prefill_attention.h"
#include "gpu/kernels/attention/prefill_channel_peaks.h"
#include "gpu/kernels/attention/prefill_token_choice.h"

namespace decant {

int64_t PrefillAttentionCudaScratchBytes(int32_t queries, int32_t q_heads);
void PrefillAttentionCuda(Stream& stream, const PrefillAttentionArgs& args);
void ChannelPeaksCuda(Stream& stream, const ChannelPeaksArgs& args);
void ChooseTokensCuda(Stream& stream, const TokenChoiceArgs& args);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_ATTENTION_PREFILL_CUDA_H_
