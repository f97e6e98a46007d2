// Layer-major prefill of one prompt: all new tokens go through layer l in token tiles, then through layer l + 1, so
// that frames can leave layer by layer. Only one layer's K and V live at a time unless more are asked for.
#ifndef DECANT_GPU_ENGINE_PREFILL_RUN_H_
#define DECANT_GPU_ENGINE_PREFILL_RUN_H_

#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/compress/recipe.h"
#include "gpu/engine/layer_tap.h"
#include "gpu/engine/repeat_prompts.h"
#include "gpu/engine/sampling.h"
#include "gpu/engine/weights.h"

namespace decant {

inline constexpr int32_t kAllLayers = std::numeric_limits<int32_t>::max();

// One kind of sums of the attention that keys receive.
struct ScoreRequest {
  ScoreSource source = ScoreSource::kLastWindow;
  int32_t window = 64;  // queries of kLastWindow
};

struct PrefillOptions {
  int32_t reused = 0;  // leading tokens whose K and V come from frames; at most tokens - 1
  ScoreSource score = ScoreSource::kNone;
  int32_t window = 64;                    // queries of kLastWindow
  int32_t tile = 256;                     // tokens
  int32_t keep_layers = 1;                // so many of the last layers stay on the device; kAllLayers: all of them
  std::vector<ScoreRequest> more_scores;  // beside `score`, from the same pass; up to 7 of them
  bool pre_rope_keys = false;             // LayerTap::pre_rope_k
  bool channel_peaks = false;             // LayerTap::query_peaks and key_peaks
};

// Token-selective propagation (dongwonjo/FastKV): the last `window` rows go on, and of those before them the ones with
// the largest sum over all query heads of their pooled window attention.
struct TokenSelection {
  int32_t kept = 0;      // rows that go on, the window included
  int32_t window = 8;    // one of the windows whose sums the run collects
  int32_t kernel = 7;    // of the pooling, odd; 1: none
  bool average = false;  // pooling, else the maximum
};

class PrefillRun {
 public:
  // INVALID_ARGUMENT for an empty prompt, ids outside the vocabulary, more tokens than the model's positions, reused >=
  // tokens, or options that cannot be; RESOURCE_EXHAUSTED when the device has no room. `weights` and `stream` must
  // outlive it.
  static absl::StatusOr<std::unique_ptr<PrefillRun>> Create(const Weights& weights, Stream& stream,
                                                            absl::Span<const int32_t> tokens,
                                                            const PrefillOptions& options);
  virtual ~PrefillRun() = default;

  virtual int32_t layers() const = 0;
  // Of the prompt that the next layer computes or has reused; fewer after a selection.
  virtual int32_t rows() const = 0;

  // Before ComputeLayer(layer): where the caller expands the K and V of the reused tokens to; null addresses when none
  // are reused.
  virtual LayerTap PrefixTarget(int32_t layer) = 0;
  // Layers in order from 0, else FAILED_PRECONDITION. May be left between layers for other work or for good.
  virtual absl::StatusOr<LayerTap> ComputeLayer(int32_t layer) = 0;
  // A finished layer that is kept, else FAILED_PRECONDITION.
  virtual absl::StatusOr<LayerTap> Tap(int32_t layer) const = 0;

  // Between two layers: only some rows go on, at their old positions; every row attends to those before it that go on
  // as well. No-op when as many rows are to be kept as there are; `kept` below the window means the window.
  // INVALID_ARGUMENT for an even kernel, negative sizes or a reused prefix (whose hidden states nobody has);
  // FAILED_PRECONDITION outside of layers or without sums of that window.
  virtual absl::Status SelectRows(const TokenSelection& selection) = 0;
  // The same with rows of the caller's choice, indices into the current rows in host memory: ascending, the last one
  // among them, since it predicts the first token.
  virtual absl::Status KeepRows(absl::Span<const int32_t> rows) = 0;

  // The replay pass (KVzip): every chunk's tokens go through the model at the positions after the prompt, over the full
  // cache, and are forgotten; what the positions of the chunk receive meanwhile is LayerTap::replay_scores. `sinks`
  // leading positions take part in every chunk's softmax; no chunk begins before them. Starts anew when called again.
  // INVALID_ARGUMENT for chunks outside of the prompt or beyond the model's positions, FAILED_PRECONDITION after a
  // selection, RESOURCE_EXHAUSTED when the device has no room.
  virtual absl::Status BeginReplay(absl::Span<const ReplayChunk> chunks, int32_t sinks) = 0;
  // Layers in order from 0, each at any time after ComputeLayer while it is kept, else FAILED_PRECONDITION. The last
  // one gives the working memory back.
  virtual absl::Status ReplayLayer(int32_t layer) = 0;
  // [layers, kv_heads, tokens] f32 on the device, complete after the last ReplayLayer; null without a replay.
  virtual const float* replay_scores() const = 0;

  // After the last layer (else FAILED_PRECONDITION): samples the first token; `position` is its index for the random
  // generator.
  virtual absl::StatusOr<int32_t> SampleFirst(const Sampling& sampling, int64_t position) = 0;
  // After the last layer: f32 logits [rows() - reused, vocabulary] copied to `out` (parity tests, calibration).
  virtual absl::Status CopyLogits(absl::Span<float> out) = 0;
};

}  // namespace decant

#endif  // DECANT_GPU_ENGINE_PREFILL_RUN_H_
