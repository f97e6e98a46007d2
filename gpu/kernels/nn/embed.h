#ifndef DECANT_GPU_KERNELS_NN_EMBED_H_
#define DECANT_GPU_KERNELS_NN_EMBED_H_

#include <cstdint>

#include "gpu/device/device.h"
#include "gpu/kernels/nn/matmul.h"

namespace decant {

struct EmbedArgs {
  const PackedMatrix* table = nullptr;  // [vocabulary, hidden]; with tied embeddings the matrix of the logits itself
  const int32_t* ids = nullptr;         // [rows], each below the vocabulary
  int32_t rows = 0;
  float* out = nullptr;  // [rows, hidden]
};
void Embed(Stream& stream, const EmbedArgs& args);

void EmbedHost(Stream& stream, const EmbedArgs& args);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_NN_EMBED_H_
