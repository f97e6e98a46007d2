#include "services/lab/shared_prefill.h"

#include <memory>
#include <utility>

#include "absl/time/clock.h"
#include "common/base/status_macros.h"
#include "gpu/engine/layer_encoder.h"
#include "gpu/engine/prefill_run.h"
#include "gpu/engine/recipe_passes.h"

namespace decant {
namespace {

absl::Status EncodeAll(const LoadedModel& model, Stream& stream, int32_t tokens, const Recipe& recipe,
                       absl::Span<const LayerTap> layers, PromptFrames& frames) {
  LayerEncoderOptions options;
  options.recipe = recipe;
  options.geometry = model.weights->config().geometry();
  options.run_type = model.weights->run_type();
  options.prompt_tokens = tokens;
  options.model = model.folder.fingerprint;
  options.k_norm = model.weights->config().qk_norm;
  options.inverse_frequencies = model.weights->config().inverse_frequencies;
  options.rope_magnitude = model.weights->config().rope_magnitude;
  DECANT_ASSIGN_OR_RETURN(const auto encoder, LayerEncoder::Create(*model.device, options));
  const absl::Time start = absl::Now();
  if (recipe.needs_all_layers()) DECANT_RETURN_IF_ERROR(encoder->SelectAll(stream, layers));
  for (const LayerTap& tap : layers) {
    DECANT_ASSIGN_OR_RETURN(EncodedLayer encoded, encoder->Encode(stream, tap, 0));
    for (const EncodedChunk& chunk : encoded.chunks) frames.frame_bytes += chunk.frame_bytes;
    frames.counts.high += encoded.counts.high;
    frames.counts.low += encoded.counts.low;
    frames.counts.pruned += encoded.counts.pruned;
    // Layers over one basis come with the last of them.
    if (!encoded.batch.empty()) frames.layers.push_back(std::move(encoded.batch));
  }
  frames.encode_seconds += absl::ToDoubleSeconds(absl::Now() - start);
  return absl::OkStatus();
}

// One recipe after the other is encoded, so that one encoder's memory is enough.
absl::Status RunPass(const LoadedModel& model, Stream& stream, absl::Span<const int32_t> prompt, RecipePass pass,
                     absl::Span<const Recipe> recipes, std::vector<PromptFrames>& frames) {
  pass.made.schedule.group = kAllLayers;
  pass.made.options.keep_layers = kAllLayers;
  DECANT_ASSIGN_OR_RETURN(const auto run, PrefillRun::Create(*model.weights, stream, prompt, pass.made.options));
  PromptVisitor visitor;
  visitor.on_layers = [&](absl::Span<const LayerTap> layers) -> absl::Status {
    for (const RecipePass::Member& member : pass.members) {
      std::vector<LayerTap> taps;
      for (const LayerTap& tap : layers) taps.push_back(RecipePass::TapFor(member, tap));
      DECANT_RETURN_IF_ERROR(EncodeAll(model, stream, static_cast<int32_t>(prompt.size()), recipes[member.recipe], taps,
                                       frames[member.recipe]));
    }
    return absl::OkStatus();
  };
  return ComputePrompt(*run, pass.made.schedule, visitor);
}

}  // namespace

absl::StatusOr<std::vector<PromptFrames>> PrefillShared(const LoadedModel& model, Stream& stream,
                                                        absl::Span<const int32_t> prompt,
                                                        absl::Span<const Recipe> recipes) {
  std::vector<PromptFrames> frames(recipes.size());
  DECANT_ASSIGN_OR_RETURN(std::vector<RecipePass> passes,
                          PassesFor(recipes, model.weights->config(), model.folder.tokenizer.get(), prompt));
  for (RecipePass& pass : passes) {
    DECANT_RETURN_IF_ERROR(RunPass(model, stream, prompt, std::move(pass), recipes, frames));
  }
  return frames;
}

}  // namespace decant
