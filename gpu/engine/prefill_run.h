// Layer-major prefill of one prompt: all new tokens go through layer l in token tiles, then through layer l + 1, so
// that frames can leave layer by layer. Only one layer's K and V live at a time.
#ifndef DECANT_GPU_ENGINE_PREFILL_RUN_H_
#define DECANT_GPU_ENGINE_PREFILL_RUN_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/compress/recipe.h"
#include "gpu/engine/sampling.h"
#include "gpu/engine/weights.h"

namespace decant {

struct PrefillOptions {
  int32_t reused = 0;  // leading tokens whose K and V come from frames; at most tokens - 1
  ScoreSource score = ScoreSource::kNone;
  int32_t window = 64;  // queries of kLastWindow
  int32_t tile = 256;   // tokens
};

// What a finished layer shows to the score and encode stages; device addresses, valid until the next layer begins.
struct LayerTap {
  int32_t layer = 0;
  int32_t tokens = 0;  // N, reused ones included
  void* k = nullptr;   // [kv_heads, capacity, head_dim] of the run type, after rope (and k-norm)
  void* v = nullptr;
  int64_t capacity = 0;
  // Sums of normalised attention per query head and key over the queries at positions >= first_query, [q_heads,
  // sum_stride]; null without a score source. With kAllLaterQueries first_query is the number of reused tokens and a
  // key's own query does not count (the paper's t >= i + 1), so key i has tokens - max(i + 1, first_query)
  // observations; with kLastWindow first_query is max(reused, tokens - window) and the own query counts (the release).
  const float* sums = nullptr;
  int64_t sum_stride = 0;
  int32_t first_query = 0;
};

class PrefillRun {
 public:
  // INVALID_ARGUMENT for an empty prompt, ids outside the vocabulary, more tokens than the model's positions, or reused
  // >= tokens; RESOURCE_EXHAUSTED when the device has no room. `weights` and `stream` must outlive it.
  static absl::StatusOr<std::unique_ptr<PrefillRun>> Create(const Weights& weights, Stream& stream,
                                                            absl::Span<const int32_t> tokens,
                                                            const PrefillOptions& options);
  virtual ~PrefillRun() = default;

  // Before ComputeLayer(layer): where the caller expands the K and V of the reused tokens to; null addresses when none
  // are reused.
  virtual LayerTap PrefixTarget(int32_t layer) = 0;
  // Layers in order from 0, else FAILED_PRECONDITION. May be left between layers for other work or for good.
  virtual absl::StatusOr<LayerTap> ComputeLayer(int32_t layer) = 0;
  // After the last layer (else FAILED_PRECONDITION): samples the first token; `position` is its index for the random
  // generator.
  virtual absl::StatusOr<int32_t> SampleFirst(const Sampling& sampling, int64_t position) = 0;
  // After the last layer: f32 logits [tokens - reused, vocabulary] copied to `out` (parity tests, calibration).
  virtual absl::Status CopyLogits(absl::Span<float> out) = 0;
};

}  // namespace decant

#endif  // DECANT_GPU_ENGINE_PREFILL_RUN_H_
