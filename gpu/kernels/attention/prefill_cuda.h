// The operations of prefill on a CUDA device; the contract of each stands in prefill_<op>.h.
#ifndef DECANT_GPU_KERNELS_ATTENTION_PREFILL_CUDA_H_
#define DECANT_GPU_KERNELS_ATTENTION_PREFILL_CUDA_H_

#include <cstdint>

#include "gpu/kernels/attention/prefill_attention.h"
#include "gpu/kernels/attention/prefill_channel_peaks.h"
#include "gpu/kernels/attention/prefill_token_choice.h"

namespace decant {

// How tiles are computed; both ways hold to the contract. kAuto: tensor cores on a GPU for what fits them.
enum class PrefillPath : uint8_t { kAuto = 0, kPlain = 1, kTensor = 2 };

int64_t PrefillAttentionCudaScratchBytes(int32_t queries, int32_t q_heads);
void PrefillAttentionCuda(Stream& stream, const PrefillAttentionArgs& args, PrefillPath path = PrefillPath::kAuto);
// bf16 and head_dim 64, 96, 128 or 256.
bool PrefillFitsTensorCores(const PrefillAttentionArgs& args);
void PrefillAttentionOnTensorCores(Stream& stream, const PrefillAttentionArgs& args);  // REQUIRES: fits
void ChannelPeaksCuda(Stream& stream, const ChannelPeaksArgs& args);
void ChooseTokensCuda(Stream& stream, const TokenChoiceArgs& args);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_ATTENTION_PREFILL_CUDA_H_
