// The pool's ladder: stored frames become frames of a cheaper profile, many at a time, on a device.
#ifndef DECANT_GPU_KERNELS_CODEC_FRAME_REENCODER_H_
#define DECANT_GPU_KERNELS_CODEC_FRAME_REENCODER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/compress/recipe.h"
#include "common/kv/frame.h"
#include "gpu/device/device.h"

namespace decant {

struct FrameToReencode {
  absl::string_view frame;  // as stored: one frame, sealed
  // The scores of its tokens, where the target's policy goes by them, else empty; and the length of the prompt that
  // left them.
  absl::string_view overlay;
  int32_t prompt_tokens = 0;
};

struct ReencodedFrame {
  FrameHeader header;   // what `frame` says about itself
  std::string frame;    // sealed
  int64_t dropped = 0;  // tokens that the target's policy left out, over layers and heads
};

// Whether frames like `source` can be stored as `target`. FAILED_PRECONDITION with the reason where not: a tier would
// have to be promoted (its K or V has fewer bits than both of the target's formats), keys are in another rope or
// balance form, halves of tokens are stored apart, layers share a basis, or the allocation is neither all_high nor a
// threshold.
absl::Status CheckReencode(const FrameHeader& source, const Recipe& target);

// Owns a stream and device memory, taken once. One thread at a time.
class FrameReencoder {
 public:
  // `batch_bytes` bounds what one launch reads, and what it writes; about 2.5 times as much is held on the device.
  // RESOURCE_EXHAUSTED when the device has not that much.
  static absl::StatusOr<std::unique_ptr<FrameReencoder>> Create(Device& device, int64_t batch_bytes);

  // One result per frame, in order. A frame that fails leaves the others alone: ParseFrame's and ParseOverlay's errors,
  // those of CheckReencode, FAILED_PRECONDITION where the target goes by scores and there are none, RESOURCE_EXHAUSTED
  // for a frame that is longer than a batch. An error of the device is every frame's.
  //
  // A token keeps its place in the chunk. Those that the source lacks stay out, those that the target prunes leave; a
  // token that the target wants high but that is stored with fewer bits goes to the low tier. Tokens whose format does
  // not change are copied bit for bit. The new header carries the target's digest; the worse provenance; and errors
  // against the original: the source's sums of squared differences plus what re-encoding added, as if the two were not
  // correlated, over the source's sums of squares.
  std::vector<absl::StatusOr<ReencodedFrame>> Reencode(absl::Span<const FrameToReencode> frames, const Recipe& target);

  // ReencodeFrames operations so far.
  int64_t launches() const { return launches_; }

 private:
  class Batch;

  FrameReencoder(Device& device, int64_t batch_bytes);
  void Run(Batch& batch, std::vector<absl::StatusOr<ReencodedFrame>>& results);

  Device& device_;
  const int64_t batch_bytes_;
  std::unique_ptr<Stream> stream_;
  Buffer in_;
  Buffer out_;
  Buffer runs_;
  Buffer places_;
  Buffer errors_;
  int64_t launches_ = 0;
};

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_CODEC_FRAME_REENCODER_H_
