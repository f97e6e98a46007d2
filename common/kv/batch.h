#ifndef DECANT_COMMON_KV_BATCH_H_
#define DECANT_COMMON_KV_BATCH_H_

#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/kv/frame.h"
#include "common/kv/overlay.h"

namespace decant {

// One frame of a batch and, where one follows it, its overlay.
struct BatchPart {
  FrameView frame;
  std::optional<OverlayView> overlay;
};

// Splits and verifies a whole batch; the parts borrow it, offsets are relative to its first byte. Errors as ParseFrame;
// an overlay that does not follow its frame is DATA_LOSS. An empty batch has no parts.
absl::StatusOr<std::vector<BatchPart>> SplitBatch(absl::string_view batch);

}  // namespace decant

#endif  // DECANT_COMMON_KV_BATCH_H_
