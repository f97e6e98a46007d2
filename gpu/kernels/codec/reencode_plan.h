// What becomes of one stored frame under another recipe: which token goes to which tier, and the runs that move it
// there.
#ifndef DECANT_GPU_KERNELS_CODEC_REENCODE_PLAN_H_
#define DECANT_GPU_KERNELS_CODEC_REENCODE_PLAN_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "common/compress/arith/prompt_tier.h"
#include "common/compress/recipe.h"
#include "common/kv/frame.h"
#include "common/kv/overlay.h"
#include "gpu/kernels/codec/reencode_frames.h"

namespace decant {

// A token's place in the stored frame and in its chunk.
struct PlannedToken {
  uint32_t place = 0;   // StoredPlace
  uint16_t offset = 0;  // from the chunk's first position
};

struct ReencodePlan {
  FrameHeader header;  // of the new frame, but for the errors
  FrameLayout layout;  // of the new frame, from byte 0
  int64_t dropped = 0;
  std::vector<std::vector<PlannedToken>> tokens;  // [layers, heads, kFrameTiers], ascending
};

// Whose tokens `overlay` scores may be null where the target's policy needs none. Errors as FrameReencoder::Reencode.
absl::StatusOr<ReencodePlan> PlanReencode(const FrameView& frame, const OverlayView* overlay, int32_t prompt_tokens,
                                          const Recipe& target);

// Appends the runs of the plan and the places that they name; the frame's first byte will stand at `in` of the device's
// input, the new one's at `out` of its output.
void AppendReencodeRuns(const FrameView& frame, const ReencodePlan& plan, const Recipe& target, int64_t in, int64_t out,
                        std::vector<ReencodeRun>& runs, std::vector<uint32_t>& places);

// Writes what the device does not: positions, and the factors of balanced keys. `to` is the new frame's first byte.
void WriteHostParts(const FrameView& frame, const ReencodePlan& plan, uint8_t* to);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_CODEC_REENCODE_PLAN_H_
