// The replay pass of one prompt: repeat prompts go layer-major through the model over the prompt's K and V, which stay
// as they are; the K and V of the repeats lie apart and are overwritten by the next one's.
#ifndef DECANT_GPU_ENGINE_REPLAY_PASS_H_
#define DECANT_GPU_ENGINE_REPLAY_PASS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "gpu/engine/layer_tap.h"
#include "gpu/engine/repeat_prompts.h"
#include "gpu/engine/transformer.h"

namespace decant {

class ReplayPass {
 public:
  // INVALID_ARGUMENT names the chunk that cannot be; RESOURCE_EXHAUSTED when the device has no room. `tile` is the
  // most rows of a product. `weights` and `stream` must outlive it.
  static absl::StatusOr<std::unique_ptr<ReplayPass>> Create(const Weights& weights, Stream& stream,
                                                            int32_t prompt_tokens, absl::Span<const ReplayChunk> chunks,
                                                            int32_t sinks, int32_t tile);

  // Layers in order from 0: raises scores [kv_heads, prompt_tokens], which begin at zero.
  void ComputeLayer(const LayerTap& tap, float* scores);

 private:
  struct Part {
    int32_t begin = 0;  // of the positions repeated
    int32_t end = 0;
    int64_t first_row = 0;  // of the residual
    int32_t rows = 0;
  };

  ReplayPass(const Weights& weights, Stream& stream, int32_t prompt_tokens, int32_t sinks, int32_t tile)
      : weights_(weights),
        config_(weights.config()),
        stream_(stream),
        prompt_tokens_(prompt_tokens),
        sinks_(sinks),
        tile_(tile) {}
  absl::Status Check(absl::Span<const ReplayChunk> chunks) const;
  absl::Status Allocate(absl::Span<const ReplayChunk> chunks);
  absl::Status Embed(absl::Span<const ReplayChunk> chunks);
  void ComputeTile(const LayerTap& tap, const Part& part, int32_t first, int32_t packed_keys, float* scores);
  void StoreHeads(const float* rows, int32_t first, int32_t count, const Buffer& to);

  const Weights& weights_;
  const ModelConfig& config_;
  Stream& stream_;
  const int32_t prompt_tokens_;
  const int32_t sinks_;
  int32_t tile_;
  int32_t longest_ = 0;  // repeat prompt
  std::vector<Part> parts_;
  std::unique_ptr<Transformer> transformer_;
  Buffer residual_;  // [rows of all parts, hidden] f32
  Buffer angles_;    // [longest, head_dim] f32
  Buffer k_;         // [kv_heads, longest, head_dim] of the run type
  Buffer v_;
  Buffer scratch_;
};

}  // namespace decant

#endif  // DECANT_GPU_ENGINE_REPLAY_PASS_H_
