// The encoder of recipes whose wire code is low rank (xKV): gathers the layers of a group and makes low-rank frames of
// them at its last one.
#ifndef DECANT_GPU_ENGINE_LOW_RANK_ENCODER_H_
#define DECANT_GPU_ENGINE_LOW_RANK_ENCODER_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "gpu/engine/layer_encoder.h"

namespace decant {

// A frame has to fit into one batch of a link (32 MiB, services/rpc), so a long prompt is cut into spans with bases of
// their own; shorter spans pay more for them.
inline constexpr int64_t kMostLowRankFrameBytes = int64_t{24} << 20;

// Layers come in order from 0. Encode takes first_chunk 0 only and returns no chunks but at the last layer of a group
// of Recipe::low_rank.group_layers (the last group holds what is left, with ranks in proportion). Keys are unrotated
// from what the tap holds, so that a reused prefix needs nothing else. The call that ends a group is slow: it fits two
// bases on the calling thread, each the eigenvectors of an order of min(tokens, width) in double precision (about a
// second at 1024, growing with the cube), with 8 x tokens x width bytes beside the 8 x tokens x width that the group's
// K and V take. Errors of the frames are measured after rounding to fp16. INVALID_ARGUMENT for a recipe whose high
// format is not full precision, without tokens, or without the model's rotation, or whose bases leave no room for a
// chunk in `most_frame_bytes`.
absl::StatusOr<std::unique_ptr<LayerEncoder>> CreateLowRankEncoder(Device& device, const LayerEncoderOptions& options,
                                                                   int64_t most_frame_bytes = kMostLowRankFrameBytes);

}  // namespace decant

#endif  // DECANT_GPU_ENGINE_LOW_RANK_ENCODER_H_
