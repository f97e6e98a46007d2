#include "gpu/engine/prompt_schedule.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace decant {
namespace {

absl::Status Check(const PromptSchedule& schedule, int32_t layers) {
  if (schedule.group < 1) {
    return absl::InvalidArgumentError(absl::StrCat("layers in groups of ", schedule.group, "; 1 is the least"));
  }
  if (schedule.select_after < 0) return absl::OkStatus();
  if (schedule.select_after >= layers - 1) {
    return absl::InvalidArgumentError(absl::StrCat("tokens selected after layer ", schedule.select_after, " of ",
                                                   layers, ": at least one layer must come behind"));
  }
  if (schedule.replay.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("a replay needs all tokens in all layers, but some are left behind "
                   "after layer ",
                   schedule.select_after));
}

// Layers [first, end) of the run.
absl::Status HandOn(const PrefillRun& run, int32_t first, int32_t end, const PromptVisitor& visitor) {
  std::vector<LayerTap> taps;
  for (int32_t layer = first; layer < end; ++layer) {
    DECANT_ASSIGN_OR_RETURN(LayerTap tap, run.Tap(layer));
    taps.push_back(std::move(tap));
  }
  return visitor.on_layers(taps);
}

}  // namespace

PrefillOptions OptionsFor(const PromptSchedule& schedule, PrefillOptions options) {
  options.keep_layers = std::max(options.keep_layers, schedule.group);
  if (schedule.select_after < 0) return options;
  const int32_t window = schedule.selection.window;
  const bool summed = (options.score == ScoreSource::kLastWindow && options.window == window) ||
                      std::any_of(options.more_scores.begin(), options.more_scores.end(), [&](const ScoreRequest& r) {
                        return r.source == ScoreSource::kLastWindow && r.window == window;
                      });
  if (!summed) options.more_scores.push_back({ScoreSource::kLastWindow, window});
  return options;
}

absl::Status ComputePrompt(PrefillRun& run, const PromptSchedule& schedule, const PromptVisitor& visitor) {
  const int32_t layers = run.layers();
  DECANT_RETURN_IF_ERROR(Check(schedule, layers));
  if (!schedule.replay.empty()) DECANT_RETURN_IF_ERROR(run.BeginReplay(schedule.replay, schedule.sinks));
  int32_t handed_on = 0;
  for (int32_t layer = 0; layer < layers; ++layer) {
    if (visitor.before_layer) DECANT_RETURN_IF_ERROR(visitor.before_layer(layer));
    DECANT_ASSIGN_OR_RETURN(const LayerTap tap, run.ComputeLayer(layer));
    if (!schedule.replay.empty()) DECANT_RETURN_IF_ERROR(run.ReplayLayer(layer));
    if (visitor.after_layer) DECANT_RETURN_IF_ERROR(visitor.after_layer(tap));
    if (layer == schedule.select_after) DECANT_RETURN_IF_ERROR(run.SelectRows(schedule.selection));
    if (layer + 1 - handed_on < schedule.group && layer + 1 < layers) continue;
    DECANT_RETURN_IF_ERROR(HandOn(run, handed_on, layer + 1, visitor));
    handed_on = layer + 1;
  }
  return absl::OkStatus();
}

}  // namespace decant
