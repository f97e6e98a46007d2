// From the layouts of frames to the runs that operations take.
#ifndef DECANT_GPU_KERNELS_CODEC_FRAME_RUNS_H_
#define DECANT_GPU_KERNELS_CODEC_FRAME_RUNS_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "common/kv/batch.h"
#include "common/kv/frame.h"
#include "common/kv/overlay.h"
#include "gpu/kernels/codec/encode_frames.h"
#include "gpu/kernels/pages/page_ops.h"

namespace decant {

// Appends the runs that fill a one-layer frame, laid out by LayOutFrame, with the tokens from `first_token` of K and V
// on. `overlay` may be null. Heads count from `first_head` of the frame.
void AppendEncodeRuns(const FrameHeader& header, const FrameLayout& frame, const OverlayLayout* overlay,
                      int32_t first_token, std::vector<EncodeRun>& runs);

// Appends the runs that copy layer `layer` (of the model) of a frame, and its overlay, into a sequence's rows. A run
// goes to the tier of its format: high, low, or the fixed run. FAILED_PRECONDITION when the sequence has none for it.
absl::Status AppendImportRuns(const BatchPart& part, int32_t layer, const FormatId (&formats)[kTierCount],
                              std::vector<ImportRun>& runs);

// Appends the runs that expand layer `layer` of a frame into working K and V at the chunk's own positions.
// FAILED_PRECONDITION when tokens are missing or a head holds two formats: such a frame is for one request only.
absl::Status AppendExpandRuns(const FrameView& frame, int32_t layer, std::vector<ExpandRun>& runs);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_CODEC_FRAME_RUNS_H_
