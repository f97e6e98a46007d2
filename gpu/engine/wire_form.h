// From frames to what travels, and back: coded frames (common/compress/code) and low-rank frames
// (common/compress/transform). Host only, on the calling thread.
#ifndef DECANT_GPU_ENGINE_WIRE_FORM_H_
#define DECANT_GPU_ENGINE_WIRE_FORM_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/compress/transform/low_rank_frame.h"
#include "common/kv/geometry.h"
#include "gpu/engine/layer_encoder.h"

namespace decant {

// The same layer with every frame in its coded form where that is shorter; overlays stay as they are. INTERNAL when
// `plain` holds anything but sound frames.
absl::StatusOr<EncodedLayer> CodedLayer(const EncodedLayer& plain);

// The sequence that a batch is for.
struct WireContext {
  Geometry geometry;
  int32_t prompt_tokens = 0;
  FormatId full = FormatId::kNone;  // of the plain frames that low-rank ones become; other formats take none
  KeyRotation rotation;
};

// The batch with every coded frame restored and every low-rank frame expanded, or nothing when it has none of either:
// then it is plain itself. What is plain already is copied unseen; ImportPlan verifies all of it. Restoring is bounded
// by rANS; expanding a low-rank frame takes 2 x tokens x width x ranks operations (a second for 4096 tokens of an 8B
// model's four layers), for which the caller's thread is busy. DATA_LOSS, FAILED_PRECONDITION as for frames; no batch
// can ask for more memory than 64 times its own size and the sequence's full KV.
absl::StatusOr<std::optional<std::string>> PlainBatch(absl::string_view batch, const WireContext& context);

}  // namespace decant

#endif  // DECANT_GPU_ENGINE_WIRE_FORM_H_
