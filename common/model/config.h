// config.json and generation_config.json of a Hugging Face folder, checked once.
#ifndef DECANT_COMMON_MODEL_CONFIG_H_
#define DECANT_COMMON_MODEL_CONFIG_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/kv/geometry.h"

namespace decant {

enum class Architecture : uint8_t { kLlama, kMistral, kQwen2, kQwen3 };

struct ModelConfig {
  Architecture architecture = Architecture::kLlama;
  std::string name;  // the folder's last component
  int32_t layers = 0;
  int32_t hidden = 0;
  int32_t intermediate = 0;
  int32_t q_heads = 0;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;  // independent of hidden / q_heads
  int32_t vocabulary = 0;
  int32_t max_positions = 0;
  float norm_epsilon = 0;
  bool tied_embeddings = false;
  bool qkv_bias = false;  // Qwen2, or attention_bias
  bool output_bias = false;
  bool qk_norm = false;  // Qwen3: RMSNorm over head_dim of every q and k head before rope
  // Angle of one position per rope pair, [head_dim / 2]; scaling (llama3, linear, yarn) is already inside.
  std::vector<float> inverse_frequencies;
  // Factor on cos and sin (yarn's attention factor); 1 otherwise.
  float rope_magnitude = 1.0f;
  std::vector<int32_t> end_tokens;  // generation_config.json, else config.json

  Geometry geometry() const { return Geometry{layers, q_heads, kv_heads, head_dim}; }
};

// Reads `folder`/config.json and, where present, generation_config.json. NOT_FOUND for a missing file, INVALID_ARGUMENT
// for one that cannot be read as JSON or lacks a field, UNIMPLEMENTED for an architecture, activation, rope scaling or
// sliding window that decant does not compute; each message names the file, the value and what to do.
absl::StatusOr<ModelConfig> ReadModelConfig(const std::string& folder);

}  // namespace decant

#endif  // DECANT_COMMON_MODEL_CONFIG_H_
