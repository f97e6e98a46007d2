// What a decode batch takes for a sequence at all, whatever room it has.
#ifndef DECANT_GPU_ENGINE_SEQUENCE_CHECKS_H_
#define DECANT_GPU_ENGINE_SEQUENCE_CHECKS_H_

#include "absl/status/status.h"
#include "common/kv/rows.h"
#include "common/model/config.h"
#include "gpu/engine/decode_batch.h"

namespace decant {

// INVALID_ARGUMENT with the value: no tokens, more than the model has positions, forced tokens that do not fit, a
// recipe that no row can hold or no kernel can read, a format of which no token fits a page of `arena`.
absl::Status CheckSequenceOptions(const SequenceOptions& options, const ModelConfig& config, const PageArena& arena);

}  // namespace decant

#endif  // DECANT_GPU_ENGINE_SEQUENCE_CHECKS_H_
