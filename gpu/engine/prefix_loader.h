// The way back of layer_encoder.h: checks stored frames of a prefix and expands them into prefill's working K and V.
#ifndef DECANT_GPU_ENGINE_PREFIX_LOADER_H_
#define DECANT_GPU_ENGINE_PREFIX_LOADER_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/base/digest.h"
#include "common/compress/profile.h"
#include "common/kv/geometry.h"
#include "gpu/device/device.h"
#include "gpu/engine/prefill_run.h"

namespace decant {

struct PrefixLoaderOptions {
  Geometry geometry;
  RunType run_type = RunType::kBf16;
  int32_t chunk_tokens = 64;
  Digest model;         // the fingerprint whose first 8 bytes every frame must carry
  bool k_norm = false;  // ModelConfig::qk_norm
};

// One whole frame of one chunk of one layer, in host memory.
using StoredFrame = absl::Span<const uint8_t>;

// Not thread-safe: the thread that submits to the stream owns it.
class PrefixLoader {
 public:
  static absl::StatusOr<std::unique_ptr<PrefixLoader>> Create(Device& device, const PrefixLoaderOptions& options);
  virtual ~PrefixLoader() = default;

  // Checks one frame without a device: version, checksum, model, layer, all heads, positions of chunk `chunk` (counted
  // from 0), every token present in one format. DATA_LOSS for damaged bytes, FAILED_PRECONDITION for bytes that belong
  // to something else. A frame that fails is a miss: the usable prefix ends before its chunk.
  virtual absl::Status Check(int32_t layer, int32_t chunk, StoredFrame frame) const = 0;

  // Checks the frames of chunks 0 .. frames.size() - 1 of `layer` and expands them into `target` (of
  // PrefillRun::PrefixTarget). On an error the target's content is undefined. Waits for the stream: the frames may be
  // freed after it.
  virtual absl::Status Load(Stream& stream, int32_t layer, absl::Span<const StoredFrame> frames,
                            const LayerTap& target) = 0;
};

}  // namespace decant

#endif  // DECANT_GPU_ENGINE_PREFIX_LOADER_H_
