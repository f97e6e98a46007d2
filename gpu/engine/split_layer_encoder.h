// The encoder of split rows (Allocation::kWindowSplit): keys and values of a token in formats of their own, given by
// its position alone.
#ifndef DECANT_GPU_ENGINE_SPLIT_LAYER_ENCODER_H_
#define DECANT_GPU_ENGINE_SPLIT_LAYER_ENCODER_H_

#include <memory>

#include "absl/status/statusor.h"
#include "gpu/engine/layer_encoder.h"

namespace decant {

// As LayerEncoder::Create. INVALID_ARGUMENT too where the groups of frozen keys would cross chunks, and for keys that
// are transformed before they are stored.
absl::StatusOr<std::unique_ptr<LayerEncoder>> CreateSplitLayerEncoder(Device& device,
                                                                      const LayerEncoderOptions& options);

}  // namespace decant

#endif  // DECANT_GPU_ENGINE_SPLIT_LAYER_ENCODER_H_
