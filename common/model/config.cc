#include "common/model/config.h"

#include <array>
#include <filesystem>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/base/status_macros.h"
#include "common/model/json_fields.h"
#include "common/model/rope.h"
#include "common/model/token_id.h"

namespace decant {
namespace {

struct KnownArchitecture {
  absl::string_view class_name;
  absl::string_view model_type;
  Architecture architecture;
};
constexpr std::array<KnownArchitecture, 4> kKnown = {{
    {"LlamaForCausalLM", "llama", Architecture::kLlama},
    {"MistralForCausalLM", "mistral", Architecture::kMistral},
    {"Qwen2ForCausalLM", "qwen2", Architecture::kQwen2},
    {"Qwen3ForCausalLM", "qwen3", Architecture::kQwen3},
}};

absl::StatusOr<Architecture> ReadArchitecture(const JsonFields& json) {
  std::string name;
  if (json.Has("architectures")) {
    DECANT_ASSIGN_OR_RETURN(const nlohmann::json* list, json.Array("architectures"));
    if (!list->empty() && list->front().is_string()) name = list->front().get<std::string>();
  }
  if (name.empty()) {
    DECANT_ASSIGN_OR_RETURN(name, json.StringOr("model_type", ""));
  }
  for (const KnownArchitecture& known : kKnown) {
    if (name == known.class_name || name == known.model_type) return known.architecture;
  }
  if (name.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        json.where(), " names neither architectures nor model_type; give the folder of a Hugging Face causal model"));
  }
  return absl::UnimplementedError(
      absl::StrCat(json.where(), ": architecture \"", name,
                   "\" is not computed by decant; it knows LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM and "
                   "Qwen3ForCausalLM. Give a folder of one of these"));
}

// A size within [1, limit]; the limits are far above any model and keep every product of sizes within 63 bits.
absl::StatusOr<int32_t> ReadSize(const JsonFields& json, const char* name, int64_t limit,
                                 std::optional<int64_t> otherwise = std::nullopt) {
  int64_t value = otherwise.value_or(0);
  if (!otherwise || json.Has(name)) {
    DECANT_ASSIGN_OR_RETURN(value, json.Int(name));
  }
  if (value < 1 || value > limit) {
    return absl::InvalidArgumentError(
        absl::StrCat(json.where(), ": \"", name, "\" is ", value, " but must be within 1 and ", limit));
  }
  return static_cast<int32_t>(value);
}

absl::Status ReadSizes(const JsonFields& json, ModelConfig& config) {
  DECANT_ASSIGN_OR_RETURN(config.layers, ReadSize(json, "num_hidden_layers", 1 << 12));
  DECANT_ASSIGN_OR_RETURN(config.hidden, ReadSize(json, "hidden_size", 1 << 18));
  DECANT_ASSIGN_OR_RETURN(config.intermediate, ReadSize(json, "intermediate_size", 1 << 20));
  DECANT_ASSIGN_OR_RETURN(config.q_heads, ReadSize(json, "num_attention_heads", 1 << 12));
  // Only Llama's reference falls back to one kv head per query head; elsewhere the default is another model's number.
  const bool llama = config.architecture == Architecture::kLlama;
  DECANT_ASSIGN_OR_RETURN(config.kv_heads, ReadSize(json, "num_key_value_heads", 1 << 12,
                                                    llama ? std::optional<int64_t>(config.q_heads) : std::nullopt));
  const int64_t usual_dim = config.architecture == Architecture::kQwen3 ? 128 : config.hidden / config.q_heads;
  DECANT_ASSIGN_OR_RETURN(config.head_dim, ReadSize(json, "head_dim", 1 << 12, usual_dim));
  DECANT_ASSIGN_OR_RETURN(config.vocabulary, ReadSize(json, "vocab_size", kMaxTokenIds));
  DECANT_ASSIGN_OR_RETURN(config.max_positions, ReadSize(json, "max_position_embeddings", 1 << 30));
  if (config.q_heads % config.kv_heads != 0) {
    return absl::InvalidArgumentError(absl::StrCat(json.where(), ": num_attention_heads ", config.q_heads,
                                                   " is not a multiple of num_key_value_heads ", config.kv_heads));
  }
  if (config.head_dim % 2 != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(json.where(), ": head_dim is ", config.head_dim, " but rope needs an even one"));
  }
  return absl::OkStatus();
}

// A window that no position can leave is no window.
absl::Status RefuseSlidingWindow(const JsonFields& json, const ModelConfig& config) {
  int64_t window = 0;
  if (config.architecture == Architecture::kMistral) {
    // Mistral's reference takes 4096 where the field is absent; null means none.
    const bool absent = !json.json().contains("sliding_window");
    DECANT_ASSIGN_OR_RETURN(window, json.IntOr("sliding_window", absent ? 4096 : 0));
  } else if (config.architecture != Architecture::kLlama) {
    DECANT_ASSIGN_OR_RETURN(const bool used, json.BoolOr("use_sliding_window", false));
    DECANT_ASSIGN_OR_RETURN(window, json.IntOr("sliding_window", 4096));
    // Layers from max_window_layers on have the window.
    DECANT_ASSIGN_OR_RETURN(const int64_t full_layers, json.IntOr("max_window_layers", 28));
    if (!used || full_layers >= config.layers) window = 0;
  }
  if (json.Has("layer_types")) {
    DECANT_ASSIGN_OR_RETURN(const nlohmann::json* kinds, json.Array("layer_types"));
    for (const nlohmann::json& kind : *kinds) {
      if (kind == "full_attention") continue;
      return absl::UnimplementedError(
          absl::StrCat(json.where(), ": layer_types holds ", kind.dump(), "; decant computes full_attention only"));
    }
  }
  if (window > 0 && window < config.max_positions) {
    return absl::UnimplementedError(absl::StrCat(
        json.where(), ": sliding_window is ", window, " of ", config.max_positions,
        " positions, and decant computes full attention only. For texts of at most ", window,
        " tokens the two are the same: set max_position_embeddings to ", window, " and sliding_window to null"));
  }
  return absl::OkStatus();
}

absl::Status RefuseWhatIsNotComputed(const JsonFields& json, const ModelConfig& config) {
  DECANT_ASSIGN_OR_RETURN(const std::string activation, json.StringOr("hidden_act", "silu"));
  if (activation != "silu") {
    return absl::UnimplementedError(
        absl::StrCat(json.where(), ": hidden_act \"", activation, "\" is not computed by decant, only \"silu\""));
  }
  DECANT_ASSIGN_OR_RETURN(const bool mlp_bias, json.BoolOr("mlp_bias", false));
  if (mlp_bias) {
    return absl::UnimplementedError(absl::StrCat(json.where(), ": mlp_bias is true; decant computes an MLP without"));
  }
  if (json.Has("quantization_config")) {
    return absl::UnimplementedError(absl::StrCat(
        json.where(), ": quantization_config is set; decant reads F32, F16 and BF16 weights, take the original model"));
  }
  return RefuseSlidingWindow(json, config);
}

// eos_token_id is one id, a list, null or absent.
absl::Status ReadEndTokens(const JsonFields& json, std::vector<int32_t>& end_tokens) {
  if (!json.Has("eos_token_id")) return absl::OkStatus();
  const nlohmann::json& field = json.json()["eos_token_id"];
  const nlohmann::json list = field.is_array() ? field : nlohmann::json::array({field});
  for (const nlohmann::json& id : list) {
    DECANT_ASSIGN_OR_RETURN(const int32_t token, ReadTokenId(id, json.where() + ": eos_token_id"));
    end_tokens.push_back(token);
  }
  return absl::OkStatus();
}

absl::Status ReadBiases(const JsonFields& json, ModelConfig& config) {
  DECANT_ASSIGN_OR_RETURN(const bool bias, json.BoolOr("attention_bias", false));
  switch (config.architecture) {
    case Architecture::kLlama:
    case Architecture::kQwen3:
      config.qkv_bias = bias;
      config.output_bias = bias;
      break;
    case Architecture::kQwen2:
      config.qkv_bias = true;
      break;
    case Architecture::kMistral:
      break;
  }
  config.qk_norm = config.architecture == Architecture::kQwen3;
  return absl::OkStatus();
}

std::string LastComponent(const std::string& folder) {
  const std::filesystem::path path = std::filesystem::path(folder).lexically_normal();
  return (path.has_filename() ? path.filename() : path.parent_path().filename()).string();
}

}  // namespace

absl::StatusOr<ModelConfig> ReadModelConfig(const std::string& folder) {
  const std::string path = folder + "/config.json";
  DECANT_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path));
  DECANT_ASSIGN_OR_RETURN(const nlohmann::json parsed, ParseJson(text, path));
  DECANT_ASSIGN_OR_RETURN(const JsonFields json, JsonFields::Of(parsed, path));

  ModelConfig config;
  config.name = LastComponent(folder);
  DECANT_ASSIGN_OR_RETURN(config.architecture, ReadArchitecture(json));
  DECANT_RETURN_IF_ERROR(ReadSizes(json, config));
  DECANT_RETURN_IF_ERROR(RefuseWhatIsNotComputed(json, config));
  DECANT_RETURN_IF_ERROR(ReadBiases(json, config));
  DECANT_ASSIGN_OR_RETURN(const double epsilon, json.NumberOr("rms_norm_eps", 1e-6));
  if (!(epsilon >= 0.0 && epsilon < 1.0)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": rms_norm_eps is ", epsilon, " but must be within 0 and 1"));
  }
  config.norm_epsilon = static_cast<float>(epsilon);
  DECANT_ASSIGN_OR_RETURN(config.tied_embeddings, json.BoolOr("tie_word_embeddings", false));
  DECANT_ASSIGN_OR_RETURN(Rope rope, ReadRope(json, config.head_dim, config.max_positions));
  config.inverse_frequencies = std::move(rope.inverse_frequencies);
  config.rope_magnitude = rope.magnitude;

  const std::string generation_path = folder + "/generation_config.json";
  if (std::filesystem::exists(generation_path)) {
    DECANT_ASSIGN_OR_RETURN(const std::string generation_text, ReadTextFile(generation_path));
    DECANT_ASSIGN_OR_RETURN(const nlohmann::json generation, ParseJson(generation_text, generation_path));
    DECANT_ASSIGN_OR_RETURN(const JsonFields fields, JsonFields::Of(generation, generation_path));
    DECANT_RETURN_IF_ERROR(ReadEndTokens(fields, config.end_tokens));
  }
  if (config.end_tokens.empty()) DECANT_RETURN_IF_ERROR(ReadEndTokens(json, config.end_tokens));
  return config;
}

}  // namespace decant
