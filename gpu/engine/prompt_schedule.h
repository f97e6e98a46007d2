// In which order a prompt's layers are computed, replayed, thinned out and handed on: what prefill workers and the lab
// share.
#ifndef DECANT_GPU_ENGINE_PROMPT_SCHEDULE_H_
#define DECANT_GPU_ENGINE_PROMPT_SCHEDULE_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "gpu/engine/prefill_run.h"

namespace decant {

struct PromptSchedule {
  // Layers that are handed on together: 1, each as soon as it is computed; G, in groups from layer 0 on, the last one
  // smaller where G does not divide; kAllLayers, after the last one.
  int32_t group = 1;
  // Token-selective propagation after this layer; -1: all tokens go on.
  int32_t select_after = -1;
  TokenSelection selection;
  // Replay every layer before it is handed on; no chunks: none.
  std::vector<ReplayChunk> replay;
  int32_t sinks = 0;
};

struct PromptVisitor {
  // Called before each layer is computed: cancellation, deadlines, the K and V of a reused prefix. May be empty.
  std::function<absl::Status(int32_t layer)> before_layer;
  // Called after each layer, before a selection of the schedule; may call KeepRows or SelectRows. May be empty.
  std::function<absl::Status(const LayerTap& tap)> after_layer;
  // Gets every layer once, ascending: the taps of a group, valid during the call.
  std::function<absl::Status(absl::Span<const LayerTap> layers)> on_layers;
};

// `options` with what the schedule needs: layers kept, the sums of the selection's window.
PrefillOptions OptionsFor(const PromptSchedule& schedule, PrefillOptions options);

// Computes all layers of a new run that was made with OptionsFor. Stops at the first error, the visitor's included, and
// returns it; the run can then only be thrown away. INVALID_ARGUMENT for a group below 1, a selection after a layer
// that the model lacks or has as its last one, or a selection with a replay.
absl::Status ComputePrompt(PrefillRun& run, const PromptSchedule& schedule, const PromptVisitor& visitor);

}  // namespace decant

#endif  // DECANT_GPU_ENGINE_PROMPT_SCHEDULE_H_
