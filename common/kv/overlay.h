// An overlay: the score sums of a frame's tokens for one request. It follows its frame in a batch and is never part of
// stored bytes. Byte table: proto/decant/v1/README.md.
#ifndef DECANT_COMMON_KV_OVERLAY_H_
#define DECANT_COMMON_KV_OVERLAY_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/kv/frame.h"

namespace decant {

inline constexpr uint16_t kOverlayVersion = 2;  // written; version 1 is read too

struct OverlayHeader {
  uint16_t version = kOverlayVersion;  // read from the overlay; only kOverlayVersion is written
  int32_t first_layer = 0;
  int32_t layers = 1;
  int32_t first_head = 0;
  int32_t heads = 0;
  int32_t first_position = 0;
  int32_t span = 0;
  int32_t first_query = 0;  // queries before this position left no scores
  uint64_t model_fingerprint = 0;
};

struct OverlayLayout {
  int64_t offset = 0;
  int64_t bytes = 0;  // multiple of kFrameAlignment
  int32_t heads = 0;
  std::vector<int32_t> tokens;  // [layers, heads, kFrameTiers], those of the frame
  std::vector<int64_t> scores;  // same shape: byte offset in the batch of [tokens] f32, in the order of the frame's run

  int64_t run(int32_t layer, int32_t head, int32_t tier) const {
    return scores[static_cast<size_t>((layer * heads + head) * kFrameTiers + tier)];
  }
};

// The identification that belongs to a frame.
OverlayHeader OverlayHeaderFor(const FrameHeader& frame, int32_t first_query);

// Places the overlay of a frame at byte `offset` of a batch: usually frame.offset + frame.bytes.
OverlayLayout LayOutOverlay(const OverlayHeader& header, const FrameLayout& frame, int64_t offset);

// Writes header and directory before the scores that were written into `batch` (host memory) and sets the checksum.
void SealOverlay(const OverlayHeader& header, const OverlayLayout& layout, uint8_t* batch);

// A verified overlay; borrows the batch.
struct OverlayView {
  OverlayHeader header;
  OverlayLayout layout;
  absl::string_view bytes;
};

// As ParseFrame; scores are finite and not negative.
absl::StatusOr<OverlayView> ParseOverlay(absl::string_view batch, int64_t offset = 0);

// DATA_LOSS with the field that differs unless `overlay` speaks of the tokens of `frame`.
absl::Status CheckOverlayMatches(const FrameView& frame, const OverlayView& overlay);

}  // namespace decant

#endif  // DECANT_COMMON_KV_OVERLAY_H_
