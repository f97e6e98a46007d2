#include "load_tests/engine/bench_model.h"

#include <cstdlib>
#include <filesystem>
#include <utility>

#include "common/base/random.h"
#include "common/base/status_macros.h"
#include "common/compress/profile.h"
#include "gpu/engine/prefill_run.h"

namespace decant {

std::string BenchModelFolder() {
  if (const char* named = std::getenv("DECANT_MODEL")) return named;
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  const std::string smollm2 =
      (cache != nullptr ? std::string(cache) : std::string(home != nullptr ? home : "") + "/.cache") +
      "/decant/smollm2";
  if (std::filesystem::exists(smollm2 + "/config.json")) return smollm2;
  return std::string(DECANT_SOURCE_DIR) + "/deploy/models/decant-tiny";
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

absl::StatusOr<BenchPrompt> BenchModel::Encode(int32_t tokens, const std::string& profile, uint64_t seed) {
  BenchPrompt prompt;
  prompt.tokens = tokens;
  DECANT_ASSIGN_OR_RETURN(const Catalogue catalogue, Catalogue::BuiltIn());
  DECANT_ASSIGN_OR_RETURN(const Profile found, catalogue.FindFor(profile, folder_.fingerprint));
  DECANT_ASSIGN_OR_RETURN(prompt.recipe, Compile(found, folder_.config.geometry(), weights_->run_type()));
  const std::vector<int32_t> ids = Tokens(tokens, seed);
  PrefillOptions prefill;
  prefill.score = prompt.recipe.score;
  prefill.window = prompt.recipe.window;
  DECANT_ASSIGN_OR_RETURN(const auto run, PrefillRun::Create(*weights_, *stream_, ids, prefill));
  LayerEncoderOptions encode;
  encode.recipe = prompt.recipe;
  encode.geometry = folder_.config.geometry();
  encode.run_type = weights_->run_type();
  encode.prompt_tokens = tokens;
  encode.model = folder_.fingerprint;
  encode.k_norm = folder_.config.qk_norm;
  DECANT_ASSIGN_OR_RETURN(const auto encoder, LayerEncoder::Create(*device_, encode));
  for (int32_t layer = 0; layer < folder_.config.layers; ++layer) {
    DECANT_ASSIGN_OR_RETURN(const LayerTap tap, run->ComputeLayer(layer));
    DECANT_ASSIGN_OR_RETURN(EncodedLayer encoded, encoder->Encode(*stream_, tap, 0));
    prompt.layers.push_back(std::move(encoded));
  }
  DECANT_ASSIGN_OR_RETURN(prompt.first_token, run->SampleFirst(Sampling(), tokens));
  return prompt;
}

absl::StatusOr<std::unique_ptr<DecodeBatch>> BenchModel::NewBatch(int64_t budget_bytes, int32_t max_sequences) {
  DecodeOptions options;
  options.kv_budget_bytes = budget_bytes;
  options.max_sequences = max_sequences;
  options.model = folder_.fingerprint;
  return DecodeBatch::Create(*weights_, *stream_, options);
}

absl::StatusOr<SequenceId> BenchModel::Start(DecodeBatch& batch, const BenchPrompt& prompt, int32_t max_tokens) {
  SequenceOptions options;
  options.prompt_tokens = prompt.tokens;
  options.max_tokens = max_tokens;
  options.recipe = prompt.recipe;
  DECANT_ASSIGN_OR_RETURN(const SequenceId id, batch.Reserve(options));
  for (const EncodedLayer& layer : prompt.layers) DECANT_RETURN_IF_ERROR(batch.Import(id, layer.batch));
  DECANT_RETURN_IF_ERROR(batch.Join(id, prompt.first_token));
  return id;
}

}  // namespace decant
