#include "gpu/engine/recipe_schedule.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/compress/allocate/budget.h"

namespace decant {
namespace {

bool IsSummed(ScoreSource source) {
  return source != ScoreSource::kNone && source != ScoreSource::kReplay && source != ScoreSource::kPosition;
}

// Ids of a text in the middle of a prompt: without what the tokenizer puts before every text.
absl::StatusOr<std::vector<int32_t>> MiddleIds(const Tokenizer& tokenizer, const std::string& text) {
  DECANT_ASSIGN_OR_RETURN(const std::vector<int32_t> begin, tokenizer.Encode(""));
  DECANT_ASSIGN_OR_RETURN(std::vector<int32_t> ids, tokenizer.Encode(text));
  const bool begins = ids.size() >= begin.size() && std::equal(begin.begin(), begin.end(), ids.begin());
  if (begins) ids.erase(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(begin.size()));
  return ids;
}

absl::StatusOr<RepeatWording> WordingOf(const Recipe& recipe, const Tokenizer& tokenizer) {
  RepeatWording wording;
  DECANT_ASSIGN_OR_RETURN(wording.first, MiddleIds(tokenizer, recipe.replay.first));
  DECANT_ASSIGN_OR_RETURN(wording.later, MiddleIds(tokenizer, recipe.replay.later));
  DECANT_ASSIGN_OR_RETURN(wording.reply, MiddleIds(tokenizer, recipe.replay.reply));
  wording.chunk_tokens = recipe.replay.chunk_tokens;
  wording.overlap = recipe.replay.quoted_tokens;
  return wording;
}

absl::StatusOr<std::vector<ReplayChunk>> ReplayOf(const Recipe& recipe, const ModelConfig& config,
                                                  const Tokenizer* tokenizer, absl::Span<const int32_t> prompt) {
  const auto tokens = static_cast<int32_t>(prompt.size());
  const int32_t end = tokens - std::min(recipe.window, tokens);
  const int32_t begin = std::min(recipe.sinks, end);
  if (begin == end) return std::vector<ReplayChunk>();
  if (tokenizer == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("profile ", recipe.profile, " replays the prompt, but there is no tokenizer for its instruction"));
  }
  DECANT_ASSIGN_OR_RETURN(RepeatWording wording, WordingOf(recipe, *tokenizer));
  const size_t asked = std::max(wording.first.size(), wording.later.size() + static_cast<size_t>(wording.overlap));
  const int64_t room = config.max_positions - tokens - static_cast<int64_t>(asked + wording.reply.size());
  wording.chunk_tokens = static_cast<int32_t>(std::min<int64_t>(wording.chunk_tokens, room));
  if (wording.chunk_tokens < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "profile ", recipe.profile, " replays the prompt, but behind its ", tokens, " tokens ", config.name, " has ",
        config.max_positions - tokens, " positions, and ", asked + wording.reply.size(),
        " go to the instruction; shorten the prompt or choose another profile"));
  }
  return RepeatPrompts(prompt, begin, end, wording);
}

}  // namespace

absl::StatusOr<RecipeSchedule> ScheduleFor(const Recipe& recipe, const ModelConfig& config, const Tokenizer* tokenizer,
                                           absl::Span<const int32_t> prompt, int32_t reused) {
  const auto tokens = static_cast<int32_t>(prompt.size());
  RecipeSchedule made;
  PromptSchedule& schedule = made.schedule;
  if (recipe.low_rank.group_layers > 0) schedule.group = recipe.low_rank.group_layers;
  if (recipe.needs_all_layers()) schedule.group = kAllLayers;
  if (recipe.propagation.layer >= 0) {
    if (reused > 0) {
      return absl::InvalidArgumentError(absl::StrCat("profile ", recipe.profile,
                                                     " leaves tokens behind in prefill, so ", reused,
                                                     " reused ones are of no use to it; compute them"));
    }
    schedule.select_after = recipe.propagation.layer;
    schedule.selection.kept = static_cast<int32_t>(BudgetTokens(recipe.propagation.share, tokens));
    schedule.selection.window = recipe.score_queries;
    schedule.selection.kernel = recipe.pooling == Pooling::kNone ? 1 : recipe.pool_width;
    schedule.selection.average = recipe.pooling == Pooling::kAverage;
  }
  if (recipe.score == ScoreSource::kReplay) {
    DECANT_ASSIGN_OR_RETURN(schedule.replay, ReplayOf(recipe, config, tokenizer, prompt));
    // Positions of the softmax that every chunk shares; no chunk begins before them.
    schedule.sinks = schedule.replay.empty() ? 0 : schedule.replay.front().begin;
  }
  PrefillOptions options;
  options.reused = reused;
  options.score = IsSummed(recipe.score) ? recipe.score : ScoreSource::kNone;
  options.window = recipe.score_queries;
  options.pre_rope_keys = recipe.key_form.rope == 0;
  options.channel_peaks = recipe.key_form.balanced != 0;
  made.options = OptionsFor(schedule, options);
  return made;
}

}  // namespace decant
