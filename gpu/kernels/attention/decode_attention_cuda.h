#ifndef DECANT_GPU_KERNELS_ATTENTION_DECODE_ATTENTION_CUDA_H_
#define DECANT_GPU_KERNELS_ATTENTION_DECODE_ATTENTION_CUDA_H_

#include "gpu/kernels/attention/decode_attention.h"

namespace decant {

// How tiles are computed. Both ways hold to the contract for every format and head_dim; tensor cores for groups up to
// kMostTensorHeads, larger ones are computed plain. kAuto: tensor cores on a GPU from kLeastTensorHeads on.
enum class DecodePath : uint8_t { kAuto = 0, kPlain = 1, kTensor = 2 };
inline constexpr int32_t kLeastTensorHeads = 4;
inline constexpr int32_t kMostTensorHeads = 8;

int64_t DecodeAttentionCudaScratchBytes(const Geometry& geometry, int32_t sequences, int64_t scratch_tokens);
void DecodeAttentionCuda(Stream& stream, const DecodeAttentionArgs& args, DecodePath path = DecodePath::kAuto);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_ATTENTION_DECODE_ATTENTION_CUDA_H_
