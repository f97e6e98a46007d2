#include "load_tests/engine/bench_model.h"

#include <cstdlib>
#include <filesystem>
#include <utility>

#include "common/base/random.h"
#include "common/base/status_macros.h"
#include "common/compress/profile.h"
#include "gpu/engine/recipe_schedule.h"
#include "tests/support/paths/paths.h"

namespace decant {

std::string BenchModelFolder() {
  if (const char* named = std::getenv("DECANT_MODEL")) return named;
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  const std::string smollm2 =
      (cache != nullptr ? std::string(cache) : std::string(home != nullptr ? home : "") + "/.cache") +
      "/decant/smollm2";
  if (std::filesystem::exists(smollm2 + "/config.json")) return smollm2;
  return SmallModelFolder();
}

std::string SmallModelFolder() {
  if (const char* named = std::getenv("DECANT_MODEL")) return named;
  return SourceDir() + "/deploy/models/decant-tiny";
}

absl::StatusOr<std::unique_ptr<BenchModel>> BenchModel::Load(const std::string& folder) {
  DECANT_ASSIGN_OR_RETURN(ModelFolder opened, OpenModelFolder(folder));
  std::unique_ptr<BenchModel> model(new BenchModel(std::move(opened)));
  model->device_ = CreateHostDevice(0);
  model->stream_ = model->device_->NewStream();
  DECANT_ASSIGN_OR_RETURN(model->weights_,
                          Weights::Load(*model->device_, model->folder_, PreferredRunType(*model->device_)));
  return model;
}

std::vector<int32_t> BenchModel::Tokens(int32_t count, uint64_t seed) const {
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  for (size_t i = 0; i < tokens.size(); ++i) {
    tokens[i] = static_cast<int32_t>(MixBits(seed, i) % static_cast<uint64_t>(folder_.config.vocabulary));
  }
  return tokens;
}

absl::StatusOr<Recipe> BenchModel::RecipeOf(const std::string& profile) const {
  DECANT_ASSIGN_OR_RETURN(const Catalogue catalogue, Catalogue::BuiltIn());
  DECANT_ASSIGN_OR_RETURN(const Profile found, catalogue.FindFor(profile, folder_.fingerprint));
  return Compile(found, folder_.config.geometry(), weights_->run_type());
}

absl::StatusOr<std::unique_ptr<LayerEncoder>> BenchModel::NewEncoder(const Recipe& recipe, int32_t tokens) {
  LayerEncoderOptions encode;
  encode.recipe = recipe;
  encode.geometry = folder_.config.geometry();
  encode.run_type = weights_->run_type();
  encode.prompt_tokens = tokens;
  encode.model = folder_.fingerprint;
  encode.k_norm = folder_.config.qk_norm;
  encode.inverse_frequencies = folder_.config.inverse_frequencies;
  encode.rope_magnitude = folder_.config.rope_magnitude;
  return LayerEncoder::Create(*device_, encode);
}

absl::StatusOr<int32_t> BenchModel::Prefill(const std::vector<int32_t>& ids, const Recipe& recipe,
                                            const LayersVisitor& on_layers) {
  DECANT_ASSIGN_OR_RETURN(RecipeSchedule made,
                          ScheduleFor(recipe, folder_.config, folder_.tokenizer.get(), ids, /*reused=*/0));
  made.schedule.group = kAllLayers;
  made.options.keep_layers = kAllLayers;
  DECANT_ASSIGN_OR_RETURN(const auto run, PrefillRun::Create(*weights_, *stream_, ids, made.options));
  PromptVisitor visitor;
  visitor.on_layers = on_layers;
  DECANT_RETURN_IF_ERROR(ComputePrompt(*run, made.schedule, visitor));
  return run->SampleFirst(Sampling(), static_cast<int64_t>(ids.size()));
}

absl::StatusOr<std::vector<EncodedLayer>> BenchModel::EncodeLayers(LayerEncoder& encoder, const Recipe& recipe,
                                                                   absl::Span<const LayerTap> taps) {
  std::vector<EncodedLayer> layers;
  if (recipe.needs_all_layers()) DECANT_RETURN_IF_ERROR(encoder.SelectAll(*stream_, taps));
  for (const LayerTap& tap : taps) {
    DECANT_ASSIGN_OR_RETURN(EncodedLayer encoded, encoder.Encode(*stream_, tap, 0));
    // Layers over one basis come with the last of them.
    if (!encoded.batch.empty()) layers.push_back(std::move(encoded));
  }
  return layers;
}

absl::StatusOr<BenchPrompt> BenchModel::Encode(int32_t tokens, const std::string& profile, uint64_t seed) {
  BenchPrompt prompt;
  prompt.tokens = tokens;
  DECANT_ASSIGN_OR_RETURN(prompt.recipe, RecipeOf(profile));
  const auto encode = [&](absl::Span<const LayerTap> taps) -> absl::Status {
    DECANT_ASSIGN_OR_RETURN(const auto encoder, NewEncoder(prompt.recipe, tokens));
    DECANT_ASSIGN_OR_RETURN(prompt.layers, EncodeLayers(*encoder, prompt.recipe, taps));
    return absl::OkStatus();
  };
  DECANT_ASSIGN_OR_RETURN(prompt.first_token, Prefill(Tokens(tokens, seed), prompt.recipe, encode));
  return prompt;
}

absl::StatusOr<std::unique_ptr<DecodeBatch>> BenchModel::NewBatch(int64_t budget_bytes, int32_t max_sequences,
                                                                  const std::vector<FormatId>& formats) {
  DecodeOptions options;
  options.kv_budget_bytes = budget_bytes;
  options.max_sequences = max_sequences;
  options.formats = formats;
  options.model = folder_.fingerprint;
  return DecodeBatch::Create(*weights_, *stream_, options);
}

absl::StatusOr<SequenceId> BenchModel::Import(DecodeBatch& batch, const BenchPrompt& prompt, int32_t max_tokens) {
  SequenceOptions options;
  options.prompt_tokens = prompt.tokens;
  options.max_tokens = max_tokens;
  options.recipe = prompt.recipe;
  DECANT_ASSIGN_OR_RETURN(const SequenceId id, batch.Reserve(options));
  for (const EncodedLayer& layer : prompt.layers) DECANT_RETURN_IF_ERROR(batch.Import(id, layer.batch));
  return id;
}

absl::StatusOr<SequenceId> BenchModel::Start(DecodeBatch& batch, const BenchPrompt& prompt, int32_t max_tokens) {
  DECANT_ASSIGN_OR_RETURN(const SequenceId id, Import(batch, prompt, max_tokens));
  DECANT_RETURN_IF_ERROR(batch.Join(id, prompt.first_token));
  return id;
}

}  // namespace decant
