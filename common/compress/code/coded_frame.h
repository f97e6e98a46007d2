// A coded frame: the lossless wire form of one frame (common/kv/frame.h). Byte table: proto/decant/v1/README.md.
//
// It holds the frame's header and directory as they are, then one block (code/block.h) for every kind of segment that
// has bytes. The same kind of segment of all layers and heads of a tier lies in one block, since a chunk's own segments
// are too short to pay for a table: keys, key scales, key zeros, values, value scales, value zeros, positions and read
// statistics of each tier, then the balancing vectors. Halves of f32 are apart, for the upper ones are bf16.
//
// Pure functions, any thread. Coding takes about as long as it takes to read the frame some ten times; decoding is
// bounded by rANS (load_tests/codec).
#ifndef DECANT_COMMON_COMPRESS_CODE_CODED_FRAME_H_
#define DECANT_COMMON_COMPRESS_CODE_CODED_FRAME_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/kv/frame.h"

namespace decant {

inline constexpr uint32_t kCodedFrameMagic = 0x434e4344;  // "DCNC"
inline constexpr uint16_t kCodedFrameVersion = 1;
// What a frame may be longer than its coded form: damaged bytes cannot ask for memory without end.
inline constexpr int64_t kMostExpansion = 64;

// The coded form, or nothing (an empty string) when the frame itself travels: its coded form would not be shorter, or
// its padding holds something.
std::string CodeFrame(const FrameView& frame);

struct RestoredFrame {
  std::string frame;        // as it was before CodeFrame; its own checksum is for ParseFrame to verify
  int64_t coded_bytes = 0;  // of the coded form
};

// Undoes CodeFrame for the coded frame at `offset` of `batch`. FAILED_PRECONDITION for a version that this build does
// not read, DATA_LOSS for everything else that is wrong: both mean a miss. Never reads outside `batch`.
absl::StatusOr<RestoredFrame> RestoreFrame(absl::string_view batch, int64_t offset = 0);

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_CODE_CODED_FRAME_H_
