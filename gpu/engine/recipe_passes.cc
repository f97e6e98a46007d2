#include "gpu/engine/recipe_passes.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "common/base/status_macros.h"
#include "gpu/kernels/attention/prefill_attention.h"

namespace decant {
namespace {

bool SameReplay(const std::vector<ReplayChunk>& a, const std::vector<ReplayChunk>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const ReplayChunk& x, const ReplayChunk& y) {
    return x.begin == y.begin && x.end == y.end && x.tokens == y.tokens;
  });
}

bool SameSelection(const TokenSelection& a, const TokenSelection& b) {
  return a.kept == b.kept && a.window == b.window && a.kernel == b.kernel && a.average == b.average;
}

// The place of a recipe's sums among those of a pass, which may get them as new ones; nothing when there is no room.
std::optional<int32_t> PlaceOfSums(const PrefillOptions& wanted, PrefillOptions& pass) {
  if (wanted.score == ScoreSource::kNone) return 0;
  const auto same = [&wanted](ScoreSource source, int32_t window) {
    return source == wanted.score && (source != ScoreSource::kLastWindow || window == wanted.window);
  };
  if (pass.score == ScoreSource::kNone) {
    pass.score = wanted.score;
    pass.window = wanted.window;
    return 0;
  }
  if (same(pass.score, pass.window)) return 0;
  const auto found =
      std::find_if(pass.more_scores.begin(), pass.more_scores.end(),
                   [&same](const ScoreRequest& request) { return same(request.source, request.window); });
  if (found != pass.more_scores.end()) return static_cast<int32_t>(found - pass.more_scores.begin()) + 1;
  if (pass.more_scores.size() + 1 >= kMaxAttentionSums) return std::nullopt;
  pass.more_scores.push_back({wanted.score, wanted.window});
  return static_cast<int32_t>(pass.more_scores.size());
}

// Takes the recipe into the pass, if that can serve it too.
bool Join(size_t recipe, const RecipeSchedule& wanted, RecipePass& pass) {
  PromptSchedule& schedule = pass.made.schedule;
  const PromptSchedule& other = wanted.schedule;
  if (schedule.select_after != other.select_after) return false;
  if (schedule.select_after >= 0 && !SameSelection(schedule.selection, other.selection)) return false;
  if (schedule.group != other.group && schedule.group != 1 && other.group != 1) return false;
  const bool both_replay = !schedule.replay.empty() && !other.replay.empty();
  if (both_replay && (schedule.sinks != other.sinks || !SameReplay(schedule.replay, other.replay))) return false;
  const std::optional<int32_t> sums = PlaceOfSums(wanted.options, pass.made.options);
  if (!sums.has_value()) return false;
  pass.members.push_back({recipe, *sums});
  schedule.group = std::max(schedule.group, other.group);
  if (schedule.replay.empty()) {
    schedule.replay = other.replay;
    schedule.sinks = other.sinks;
  }
  PrefillOptions& options = pass.made.options;
  options.keep_layers = std::max(options.keep_layers, wanted.options.keep_layers);
  options.pre_rope_keys = options.pre_rope_keys || wanted.options.pre_rope_keys;
  options.channel_peaks = options.channel_peaks || wanted.options.channel_peaks;
  return true;
}

}  // namespace

absl::StatusOr<std::vector<RecipePass>> PassesFor(absl::Span<const Recipe> recipes, const ModelConfig& config,
                                                  const Tokenizer* tokenizer, absl::Span<const int32_t> prompt) {
  std::vector<RecipePass> passes;
  for (size_t i = 0; i < recipes.size(); ++i) {
    DECANT_ASSIGN_OR_RETURN(RecipeSchedule wanted, ScheduleFor(recipes[i], config, tokenizer, prompt, 0));
    const bool joined =
        std::any_of(passes.begin(), passes.end(), [&](RecipePass& pass) { return Join(i, wanted, pass); });
    if (joined) continue;
    RecipePass& pass = passes.emplace_back();
    pass.made = std::move(wanted);
    pass.members.push_back({i, 0});
  }
  return passes;
}

}  // namespace decant
