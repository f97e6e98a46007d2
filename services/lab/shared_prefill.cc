#include "services/lab/shared_prefill.h"

#include <memory>
#include <utility>

#include "absl/time/clock.h"
#include "common/base/status_macros.h"
#include "gpu/engine/layer_encoder.h"
#include "gpu/engine/prefill_run.h"

namespace decant {
namespace {

// Recipes that one prefill serves, by index.
struct Group {
  PrefillOptions options;
  std::vector<size_t> members;
};

bool Serves(const PrefillOptions& options, const Recipe& recipe) {
  if (recipe.score == ScoreSource::kNone) return true;
  return options.score == recipe.score && (recipe.score != ScoreSource::kLastWindow || options.window == recipe.window);
}

std::vector<Group> GroupByPrefill(absl::Span<const Recipe* const> recipes) {
  std::vector<Group> groups;
  // Those that score come first, so that the others find a group.
  for (const bool scoring : {true, false}) {
    for (size_t i = 0; i < recipes.size(); ++i) {
      const Recipe& recipe = *recipes[i];
      if ((recipe.score != ScoreSource::kNone) != scoring) continue;
      Group* home = nullptr;
      for (Group& group : groups) {
        if (home == nullptr && Serves(group.options, recipe)) home = &group;
      }
      if (home == nullptr) {
        home = &groups.emplace_back();
        home->options.score = recipe.score;
        home->options.window = recipe.window;
      }
      home->members.push_back(i);
    }
  }
  return groups;
}

absl::Status RunGroup(const LoadedModel& model, Stream& stream, absl::Span<const int32_t> prompt, const Group& group,
                      absl::Span<const Recipe* const> recipes, std::vector<PromptFrames>& frames) {
  const Weights& weights = *model.weights;
  DECANT_ASSIGN_OR_RETURN(const auto run, PrefillRun::Create(weights, stream, prompt, group.options));
  std::vector<std::unique_ptr<LayerEncoder>> encoders;
  for (const size_t member : group.members) {
    LayerEncoderOptions options;
    options.recipe = *recipes[member];
    options.geometry = weights.config().geometry();
    options.run_type = weights.run_type();
    options.prompt_tokens = static_cast<int32_t>(prompt.size());
    options.model = model.folder.fingerprint;
    options.k_norm = weights.config().qk_norm;
    options.inverse_frequencies = weights.config().inverse_frequencies;
    options.rope_magnitude = weights.config().rope_magnitude;
    DECANT_ASSIGN_OR_RETURN(auto encoder, LayerEncoder::Create(*model.device, options));
    encoders.push_back(std::move(encoder));
  }
  for (int32_t layer = 0; layer < weights.config().layers; ++layer) {
    DECANT_ASSIGN_OR_RETURN(const LayerTap tap, run->ComputeLayer(layer));
    for (size_t i = 0; i < encoders.size(); ++i) {
      PromptFrames& mine = frames[group.members[i]];
      const absl::Time start = absl::Now();
      DECANT_ASSIGN_OR_RETURN(EncodedLayer encoded, encoders[i]->Encode(stream, tap, 0));
      mine.encode_seconds += absl::ToDoubleSeconds(absl::Now() - start);
      for (const EncodedChunk& chunk : encoded.chunks) mine.frame_bytes += chunk.frame_bytes;
      mine.layers.push_back(std::move(encoded.batch));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<PromptFrames>> PrefillShared(const LoadedModel& model, Stream& stream,
                                                        absl::Span<const int32_t> prompt,
                                                        absl::Span<const Recipe* const> recipes) {
  std::vector<PromptFrames> frames(recipes.size());
  for (const Group& group : GroupByPrefill(recipes)) {
    DECANT_RETURN_IF_ERROR(RunGroup(model, stream, prompt, group, recipes, frames));
  }
  return frames;
}

}  // namespace decant
