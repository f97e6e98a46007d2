#include <cstdio>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/status_macros.h"
#include "common/compress/profile.h"
#include "common/model/model_folder.h"
#include "services/cli/command.h"

namespace decant {
namespace {

struct InspectOptions {
  std::string folder;
  bool json = false;
};

absl::string_view NameOf(Architecture architecture) {
  switch (architecture) {
    case Architecture::kLlama:
      return "llama";
    case Architecture::kMistral:
      return "mistral";
    case Architecture::kQwen2:
      return "qwen2";
    case Architecture::kQwen3:
      return "qwen3";
  }
  return "unknown";
}

// What tokenizer.json, which OpenModelFolder has checked, calls itself.
std::string TokenizerKind(const std::string& folder) {
  std::ifstream file(folder + "/tokenizer.json");
  const auto json = nlohmann::json::parse(file, nullptr, false);
  if (json.is_discarded() || !json.contains("model") || !json["model"].is_object()) return "unknown";
  const auto& model = json["model"];
  return absl::StrCat(model.value("byte_fallback", false) ? "" : "byte-level ", model.value("type", "BPE"),
                      model.value("byte_fallback", false) ? " with byte fallback" : "");
}

// A tied head is counted once.
int64_t Parameters(const ModelConfig& c) {
  const int64_t hidden = c.hidden;
  const int64_t head_dim = c.head_dim;
  const int64_t q = c.q_heads * head_dim;
  const int64_t kv = c.kv_heads * head_dim;
  int64_t layer = hidden * (q + 2 * kv) + q * hidden + 3 * hidden * c.intermediate + 2 * hidden;
  if (c.qkv_bias) layer += q + 2 * kv;
  if (c.output_bias) layer += hidden;
  if (c.qk_norm) layer += 2 * head_dim;
  const int64_t embeddings = c.vocabulary * hidden * (c.tied_embeddings ? 1 : 2);
  return c.layers * layer + embeddings + hidden;
}

// Bytes per token with every token in the profile's high and, where there is one, low tier.
struct ProfileBytes {
  std::string name;
  int64_t high = 0;
  int64_t low = 0;
};

absl::StatusOr<std::vector<ProfileBytes>> BytesOfProfiles(const ModelConfig& config, const Digest& fingerprint) {
  DECANT_ASSIGN_OR_RETURN(const Catalogue catalogue, Catalogue::BuiltIn());
  std::vector<ProfileBytes> all;
  for (const std::string& name : catalogue.Names()) {
    DECANT_ASSIGN_OR_RETURN(const Profile profile, catalogue.FindFor(name, fingerprint));
    const absl::StatusOr<Recipe> compiled = Compile(profile, config.geometry(), RunType::kBf16);
    if (!compiled.ok()) continue;  // e.g. blocks that do not divide the head_dim
    const Recipe& recipe = *compiled;
    const int64_t rows = int64_t{config.layers} * config.kv_heads;
    const auto bytes = [&](FormatId format) {
      return format == FormatId::kNone ? 0 : rows * TokenBytes(format, config.head_dim);
    };
    // A split row holds keys in its high tier and values in its low one: all tokens frozen, or all in the window.
    if (recipe.split()) {
      all.push_back(
          {name, bytes(recipe.window_keys) + bytes(recipe.window_values), bytes(recipe.high) + bytes(recipe.low)});
      continue;
    }
    all.push_back({name, bytes(recipe.high), bytes(recipe.low)});
  }
  return all;
}

void PrintTable(const ModelFolder& folder, const std::vector<ProfileBytes>& profiles) {
  const ModelConfig& c = folder.config;
  std::string out;
  const auto line = [&out](absl::string_view name, const std::string& value) {
    absl::StrAppendFormat(&out, "%-14s %s\n", name, value);
  };
  line("model",
       absl::StrCat(c.name, " (", NameOf(c.architecture), "), fingerprint ", folder.fingerprint.Hex().substr(0, 16)));
  line("geometry",
       absl::StrFormat("%d layers, %d query and %d kv heads of %d, hidden %d, inner %d, vocabulary %d", c.layers,
                       c.q_heads, c.kv_heads, c.head_dim, c.hidden, c.intermediate, c.vocabulary));
  line("positions", absl::StrCat(c.max_positions));
  line("parameters", absl::StrFormat("%.1f M, %.1f MB stored", static_cast<double>(Parameters(c)) / 1e6,
                                     static_cast<double>(folder.tensors->total_bytes()) / 1e6));
  line("tokenizer", absl::StrCat(TokenizerKind(folder.path), ", ", folder.tokenizer->vocabulary(), " ids"));
  absl::StrAppendFormat(&out, "\n%-16s %s\n", "profile", "KV bytes per token (all high / all low)");
  absl::StrAppendFormat(&out, "%-16s %d\n", "2 bytes/element", c.geometry().full_bytes_per_token());
  for (const ProfileBytes& profile : profiles) {
    absl::StrAppendFormat(&out, "%-16s %d%s\n", profile.name, profile.high,
                          profile.low > 0 ? absl::StrCat(" / ", profile.low) : "");
  }
  std::printf("%s", out.c_str());
}

void PrintJson(const ModelFolder& folder, const std::vector<ProfileBytes>& profiles) {
  const ModelConfig& c = folder.config;
  nlohmann::ordered_json json;
  json["name"] = c.name;
  json["architecture"] = std::string(NameOf(c.architecture));
  json["fingerprint"] = folder.fingerprint.Hex();
  json["layers"] = c.layers;
  json["q_heads"] = c.q_heads;
  json["kv_heads"] = c.kv_heads;
  json["head_dim"] = c.head_dim;
  json["hidden"] = c.hidden;
  json["intermediate"] = c.intermediate;
  json["vocabulary"] = c.vocabulary;
  json["max_positions"] = c.max_positions;
  json["parameters"] = Parameters(c);
  json["stored_bytes"] = folder.tensors->total_bytes();
  json["tokenizer"] = TokenizerKind(folder.path);
  json["kv_bytes_per_token_full"] = c.geometry().full_bytes_per_token();
  for (const ProfileBytes& profile : profiles) {
    json["kv_bytes_per_token"][profile.name] = {{"high", profile.high}, {"low", profile.low}};
  }
  std::printf("%s\n", json.dump().c_str());
}

absl::Status Inspect(const InspectOptions& options) {
  DECANT_ASSIGN_OR_RETURN(const ModelFolder folder, OpenModelFolder(options.folder));
  DECANT_ASSIGN_OR_RETURN(const auto profiles, BytesOfProfiles(folder.config, folder.fingerprint));
  if (options.json) {
    PrintJson(folder, profiles);
  } else {
    PrintTable(folder, profiles);
  }
  return absl::OkStatus();
}

}  // namespace

void AddInspect(CLI::App& parser, CommandRun& run) {
  auto options = std::make_shared<InspectOptions>();
  CLI::App* command = parser.add_subcommand(
      "inspect", "Says what a model folder holds: architecture, geometry, parameters, tokenizer, KV bytes per token.");
  command->add_option("model", options->folder, "Hugging Face model folder")->required()->type_name("MODEL_DIR");
  command->add_flag("--json", options->json, "print one JSON object");
  command->callback([options, &run] { run = [options] { return Inspect(*options); }; });
}

}  // namespace decant
