#ifndef DECANT_GPU_KERNELS_ATTENTION_BLOCK_CHOICE_CUDA_H_
#define DECANT_GPU_KERNELS_ATTENTION_BLOCK_CHOICE_CUDA_H_

#include <cstdint>

#include "gpu/kernels/attention/decode_attention.h"

namespace decant {

// Device memory of what a step chooses, for every (sequence, kv head).
struct BlockLists {
  float* bounds = nullptr;    // [pairs, stride] scratch
  int32_t* blocks = nullptr;  // [pairs, stride] out, ascending
  int32_t* counts = nullptr;  // [pairs] out; 0: the head is read whole
  int64_t stride = 0;
};

// ChooseBlocks of every head of the batch whose row ChoosesBlocks in this layer (block_choice.h).
void ChooseBlocksCuda(Stream& stream, const DecodeAttentionArgs& args, const BlockLists& lists);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_ATTENTION_BLOCK_CHOICE_CUDA_H_
