// One prompt, prefilled once for all recipes whose prefill is the same, and the frames of each recipe.
#ifndef DECANT_SERVICES_LAB_SHARED_PREFILL_H_
#define DECANT_SERVICES_LAB_SHARED_PREFILL_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/compress/recipe.h"
#include "common/kv/receipt.h"
#include "gpu/device/device.h"
#include "gpu/engine/loaded_model.h"

namespace decant {

struct PromptFrames {
  std::vector<std::vector<uint8_t>> layers;  // batches of frames and overlays, as DecodeBatch::Import takes them
  int64_t frame_bytes = 0;                   // without overlays
  TokenCounts counts;                        // high, low and pruned, of every layer and kv head
  double encode_seconds = 0;
};

// Frames of `prompt` under every recipe. The prompt is computed once for all recipes but those that leave tokens behind
// in prefill or repeat it in different ways.
absl::StatusOr<std::vector<PromptFrames>> PrefillShared(const LoadedModel& model, Stream& stream,
                                                        absl::Span<const int32_t> prompt,
                                                        absl::Span<const Recipe> recipes);

}  // namespace decant

#endif  // DECANT_SERVICES_LAB_SHARED_PREFILL_H_
