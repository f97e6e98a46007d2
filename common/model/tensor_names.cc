#include "common/model/tensor_names.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace decant {

std::string LayerTensorName(int32_t layer, absl::string_view part) {
  return absl::StrCat("model.layers.", layer, ".", part);
}

std::vector<TensorNeed> NeededTensors(const ModelConfig& config) {
  const int64_t hidden = config.hidden;
  const int64_t intermediate = config.intermediate;
  const int64_t q_rows = int64_t{config.q_heads} * config.head_dim;
  const int64_t kv_rows = int64_t{config.kv_heads} * config.head_dim;

  std::vector<std::pair<absl::string_view, std::vector<int64_t>>> parts = {
      {"input_layernorm.weight", {hidden}},
      {"self_attn.q_proj.weight", {q_rows, hidden}},
      {"self_attn.k_proj.weight", {kv_rows, hidden}},
      {"self_attn.v_proj.weight", {kv_rows, hidden}},
      {"self_attn.o_proj.weight", {hidden, q_rows}},
      {"post_attention_layernorm.weight", {hidden}},
      {"mlp.gate_proj.weight", {intermediate, hidden}},
      {"mlp.up_proj.weight", {intermediate, hidden}},
      {"mlp.down_proj.weight", {hidden, intermediate}},
  };
  if (config.qkv_bias) {
    parts.push_back({"self_attn.q_proj.bias", {q_rows}});
    parts.push_back({"self_attn.k_proj.bias", {kv_rows}});
    parts.push_back({"self_attn.v_proj.bias", {kv_rows}});
  }
  if (config.output_bias) parts.push_back({"self_attn.o_proj.bias", {hidden}});
  if (config.qk_norm) {
    parts.push_back({"self_attn.q_norm.weight", {config.head_dim}});
    parts.push_back({"self_attn.k_norm.weight", {config.head_dim}});
  }

  std::vector<TensorNeed> needs = {{"model.embed_tokens.weight", {config.vocabulary, hidden}}};
  for (int32_t layer = 0; layer < config.layers; ++layer) {
    for (const auto& [part, shape] : parts) needs.push_back({LayerTensorName(layer, part), shape});
  }
  needs.push_back({"model.norm.weight", {hidden}});
  if (!config.tied_embeddings) needs.push_back({"lm_head.weight", {config.vocabulary, hidden}});
  return needs;
}

}  // namespace decant
