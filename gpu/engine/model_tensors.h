// What Weights hold, for the engine.
#ifndef DECANT_GPU_ENGINE_MODEL_TENSORS_H_
#define DECANT_GPU_ENGINE_MODEL_TENSORS_H_

#include <vector>

#include "gpu/kernels/nn/matmul.h"

namespace decant {

// Vectors are f32 in device memory whatever the run type; null where the architecture has none.
struct LayerTensors {
  const float* input_norm = nullptr;   // [hidden]
  PackedMatrix qkv;                    // [(q_heads + 2 kv_heads) x head_dim, hidden]: q, then k, then v
  const float* qkv_bias = nullptr;     // as qkv's outputs
  const float* q_norm = nullptr;       // [head_dim]
  const float* k_norm = nullptr;       // [head_dim]
  PackedMatrix output;                 // [hidden, q_heads x head_dim]
  const float* output_bias = nullptr;  // [hidden]
  const float* post_norm = nullptr;    // [hidden]
  PackedMatrix gate_up;                // [2 x intermediate, hidden]: gate, then up
  PackedMatrix down;                   // [hidden, intermediate]
};

struct ModelTensors {
  PackedMatrix embedding;  // [vocabulary, hidden]
  PackedMatrix head;       // [vocabulary, hidden]; empty when tied
  std::vector<LayerTensors> layers;
  const float* final_norm = nullptr;           // [hidden]
  const float* inverse_frequencies = nullptr;  // [head_dim / 2]
  Buffer vectors;                              // the memory of all of them

  const PackedMatrix& logits_matrix() const { return head.memory.bytes() > 0 ? head : embedding; }
};

}  // namespace decant

#endif  // DECANT_GPU_ENGINE_MODEL_TENSORS_H_
