// What a frame of a split row must look like: where a half of a token stands follows from its position alone.
#ifndef DECANT_GPU_ENGINE_SPLIT_IMPORT_H_
#define DECANT_GPU_ENGINE_SPLIT_IMPORT_H_

#include <cstdint>

#include "absl/status/status.h"
#include "common/kv/batch.h"

namespace decant {

// FAILED_PRECONDITION unless every head of layer `layer` (of the model) holds, of each half, the positions that a
// prompt of `prompt_tokens` tokens has frozen with this window, and the others in full.
absl::Status CheckSplitFrame(const BatchPart& part, absl::string_view batch, int32_t layer, int32_t prompt_tokens,
                             int32_t window);

}  // namespace decant

#endif  // DECANT_GPU_ENGINE_SPLIT_IMPORT_H_
