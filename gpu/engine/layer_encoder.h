// Turns a finished layer of a prompt into frames: score tokens, select tiers, read the counts back, lay the frames out,
// encode, seal.
#ifndef DECANT_GPU_ENGINE_LAYER_ENCODER_H_
#define DECANT_GPU_ENGINE_LAYER_ENCODER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/base/digest.h"
#include "common/compress/profile.h"
#include "common/compress/recipe.h"
#include "common/kv/geometry.h"
#include "common/kv/receipt.h"
#include "gpu/device/device.h"
#include "gpu/engine/prefill_run.h"

namespace decant {

struct LayerEncoderOptions {
  Recipe recipe;
  Geometry geometry;
  RunType run_type = RunType::kBf16;
  int32_t chunk_tokens = 64;
  int32_t prompt_tokens = 0;  // N; sizes the device memory
  Digest model;               // the fingerprint whose first 8 bytes every frame carries
  bool k_norm = false;        // ModelConfig::qk_norm
  // The worst provenance of the reused prefix, kExact without one: a frame computed over it is never better.
  Provenance prefix_provenance = Provenance::kExact;
  // ModelConfig's, for recipes whose keys are unrotated before they are encoded (low rank); others need neither.
  std::vector<float> inverse_frequencies;
  float rope_magnitude = 1;
  // What each chunk was computed over, from chunk 0 on; missing ones are zero.
  std::vector<Digest> contexts;
};

// Places of one chunk's frame and overlay in a batch. A chunk's frame comes right before its overlay; either may be
// absent (0 bytes): a reused chunk has only an overlay, and a recipe without online policy needs none.
struct EncodedChunk {
  int32_t first_token = 0;
  int32_t tokens = 0;
  int64_t frame_offset = 0;
  int64_t frame_bytes = 0;
  int64_t overlay_offset = 0;
  int64_t overlay_bytes = 0;
};

struct EncodedLayer {
  int32_t layer = 0;
  // Host memory: the chunks back to back, ascending. May be cut between chunks into several messages; a stored frame of
  // a reused chunk goes before that chunk's overlay, in the same message.
  std::vector<uint8_t> batch;
  std::vector<EncodedChunk> chunks;
  TokenCounts counts;  // of the encoded chunks: high, low and pruned
  StoredError key_error;
  StoredError value_error;
};

// Encodes the layers of one prompt with one recipe. Its device memory is taken at Create. Not thread-safe: the thread
// that submits to the stream owns it.
class LayerEncoder {
 public:
  // INVALID_ARGUMENT for sizes that cannot be, RESOURCE_EXHAUSTED when the device has no room. The recipe's wire code
  // is applied: batches are what travels. With WireCode::kLowRank frames come at the last layer of a group
  // (low_rank_encoder.h).
  static absl::StatusOr<std::unique_ptr<LayerEncoder>> Create(Device& device, const LayerEncoderOptions& options);
  virtual ~LayerEncoder() = default;

  // The first half of the work of a recipe that needs_all_layers(): `layers` are the taps of all of them, from 0 on, of
  // which the scores are read. FAILED_PRECONDITION for any other recipe.
  virtual absl::Status SelectAll(Stream& stream, absl::Span<const LayerTap> layers) = 0;

  // Encodes the chunks from `first_chunk` on; the ones before it were reused: their stored frames go to decode as they
  // are, and only their overlays are made here. Of a recipe that does not forward a prefix, all chunks are encoded:
  // first_chunk is 0. To publish a shareable form that differs from the recipe, use a second encoder with that recipe.
  // Tokens that did not go through the layer are pruned. Waits for the stream twice (counts, bytes).
  // FAILED_PRECONDITION before SelectAll, where the recipe needs it.
  virtual absl::StatusOr<EncodedLayer> Encode(Stream& stream, const LayerTap& tap, int32_t first_chunk) = 0;
};

}  // namespace decant

#endif  // DECANT_GPU_ENGINE_LAYER_ENCODER_H_
