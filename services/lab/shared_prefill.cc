#include "services/lab/shared_prefill.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "absl/time/clock.h"
#include "common/base/status_macros.h"
#include "gpu/engine/layer_encoder.h"
#include "gpu/engine/prefill_run.h"
#include "gpu/engine/recipe_schedule.h"

namespace decant {
namespace {

constexpr size_t kMostMoreScores = 7;  // PrefillOptions::more_scores
constexpr int kOwnSums = -1;           // LayerTap::sums; else an index of LayerTap::more_sums

struct Member {
  size_t recipe = 0;    // index
  int sums = kOwnSums;  // which of the tap's it reads
};

// Recipes that one prefill serves.
struct Group {
  PromptSchedule schedule;
  PrefillOptions options;
  std::vector<Member> members;
};

bool SameChunks(const std::vector<ReplayChunk>& a, const std::vector<ReplayChunk>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const ReplayChunk& x, const ReplayChunk& y) {
    return x.begin == y.begin && x.end == y.end && x.tokens == y.tokens;
  });
}

// Tokens that are left behind change all that comes after them, and a prompt is repeated in one way at a time.
bool CanShare(const PromptSchedule& a, const PromptSchedule& b) {
  if (a.select_after != b.select_after) return false;
  if (a.select_after >= 0) {
    const TokenSelection &x = a.selection, &y = b.selection;
    if (x.kept != y.kept || x.window != y.window || x.kernel != y.kernel || x.average != y.average) return false;
  }
  return a.replay.empty() || b.replay.empty() || (a.sinks == b.sinks && SameChunks(a.replay, b.replay));
}

// Where the sums that `wanted` asks for stand in a run with `options`, put there where they are missing; none when
// there is no place.
std::optional<int> PlaceOfSums(const PrefillOptions& wanted, PrefillOptions& options) {
  const auto same = [&](ScoreSource source, int32_t window) {
    return source == wanted.score && (source != ScoreSource::kLastWindow || window == wanted.window);
  };
  if (wanted.score == ScoreSource::kNone || same(options.score, options.window)) return kOwnSums;
  for (size_t i = 0; i < options.more_scores.size(); ++i) {
    if (same(options.more_scores[i].source, options.more_scores[i].window)) return static_cast<int>(i);
  }
  if (options.score == ScoreSource::kNone) {
    options.score = wanted.score;
    options.window = wanted.window;
    return kOwnSums;
  }
  if (options.more_scores.size() == kMostMoreScores) return std::nullopt;
  options.more_scores.push_back({wanted.score, wanted.window});
  return static_cast<int>(options.more_scores.size()) - 1;
}

bool Join(size_t recipe, const RecipeSchedule& made, Group& group) {
  if (!CanShare(group.schedule, made.schedule)) return false;
  const std::optional<int> sums = PlaceOfSums(made.options, group.options);
  if (!sums.has_value()) return false;
  group.members.push_back({recipe, *sums});
  group.options.pre_rope_keys |= made.options.pre_rope_keys;
  group.options.channel_peaks |= made.options.channel_peaks;
  if (!made.schedule.replay.empty()) {
    group.schedule.replay = made.schedule.replay;
    group.schedule.sinks = made.schedule.sinks;
  }
  return true;
}

absl::StatusOr<std::vector<Group>> GroupByPrefill(const LoadedModel& model, absl::Span<const int32_t> prompt,
                                                  absl::Span<const Recipe* const> recipes) {
  std::vector<Group> groups;
  for (size_t i = 0; i < recipes.size(); ++i) {
    DECANT_ASSIGN_OR_RETURN(const RecipeSchedule made,
                            ScheduleFor(*recipes[i], model.weights->config(), model.folder.tokenizer.get(), prompt, 0));
    bool joined = false;
    for (Group& group : groups) joined = joined || Join(i, made, group);
    if (joined) continue;
    Group& group = groups.emplace_back();
    group.schedule = made.schedule;
    group.options = made.options;
    group.members.push_back({i, kOwnSums});
  }
  for (Group& group : groups) {
    // One recipe after the other is encoded, so that one encoder's memory is enough.
    group.schedule.group = kAllLayers;
    group.options = OptionsFor(group.schedule, group.options);
  }
  return groups;
}

absl::Status EncodeAll(const LoadedModel& model, Stream& stream, int32_t tokens, const Recipe& recipe,
                       absl::Span<const LayerTap> layers, PromptFrames& frames) {
  LayerEncoderOptions options;
  options.recipe = recipe;
  options.geometry = model.weights->config().geometry();
  options.run_type = model.weights->run_type();
  options.prompt_tokens = tokens;
  options.model = model.folder.fingerprint;
  options.k_norm = model.weights->config().qk_norm;
  DECANT_ASSIGN_OR_RETURN(const auto encoder, LayerEncoder::Create(*model.device, options));
  const absl::Time start = absl::Now();
  if (recipe.needs_all_layers()) DECANT_RETURN_IF_ERROR(encoder->SelectAll(stream, layers));
  for (const LayerTap& tap : layers) {
    DECANT_ASSIGN_OR_RETURN(EncodedLayer encoded, encoder->Encode(stream, tap, 0));
    for (const EncodedChunk& chunk : encoded.chunks) frames.frame_bytes += chunk.frame_bytes;
    frames.layers.push_back(std::move(encoded.batch));
  }
  frames.encode_seconds += absl::ToDoubleSeconds(absl::Now() - start);
  return absl::OkStatus();
}

absl::Status RunGroup(const LoadedModel& model, Stream& stream, absl::Span<const int32_t> prompt, const Group& group,
                      absl::Span<const Recipe* const> recipes, std::vector<PromptFrames>& frames) {
  DECANT_ASSIGN_OR_RETURN(const auto run, PrefillRun::Create(*model.weights, stream, prompt, group.options));
  PromptVisitor visitor;
  visitor.on_layers = [&](absl::Span<const LayerTap> layers) {
    for (const Member& member : group.members) {
      std::vector<LayerTap> taps(layers.begin(), layers.end());
      if (member.sums != kOwnSums) {
        for (LayerTap& tap : taps) tap = tap.WithSums(static_cast<size_t>(member.sums));
      }
      DECANT_RETURN_IF_ERROR(EncodeAll(model, stream, static_cast<int32_t>(prompt.size()), *recipes[member.recipe],
                                       taps, frames[member.recipe]));
    }
    return absl::OkStatus();
  };
  return ComputePrompt(*run, group.schedule, visitor);
}

}  // namespace

absl::StatusOr<std::vector<PromptFrames>> PrefillShared(const LoadedModel& model, Stream& stream,
                                                        absl::Span<const int32_t> prompt,
                                                        absl::Span<const Recipe* const> recipes) {
  std::vector<PromptFrames> frames(recipes.size());
  DECANT_ASSIGN_OR_RETURN(const std::vector<Group> groups, GroupByPrefill(model, prompt, recipes));
  for (const Group& group : groups) {
    DECANT_RETURN_IF_ERROR(RunGroup(model, stream, prompt, group, recipes, frames));
  }
  return frames;
}

}  // namespace decant
