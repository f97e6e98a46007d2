// A low-rank frame: keys and values of several layers, all heads and a span of tokens as two shared bases (xKV,
// cross_layer_svd.h). A wire and archive form for one request; byte table: proto/decant/v1/README.md.
//
// Keys are stored before RoPE. It expands into one plain `full` frame per layer, which is a re-encode: such frames are
// kQuantised, never exact.
#ifndef DECANT_COMMON_COMPRESS_TRANSFORM_LOW_RANK_FRAME_H_
#define DECANT_COMMON_COMPRESS_TRANSFORM_LOW_RANK_FRAME_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/compress/transform/cross_layer_svd.h"
#include "common/kv/frame.h"

namespace decant {

inline constexpr uint32_t kLowRankMagic = 0x4c4e4344;  // "DCNL"
inline constexpr uint16_t kLowRankVersion = 1;

struct LowRankHeader {
  Provenance provenance = Provenance::kQuantised;
  bool k_norm_applied = false;
  int32_t first_layer = 0;
  int32_t layers = 1;
  int32_t first_head = 0;
  int32_t heads = 0;
  int32_t head_dim = 0;
  int32_t first_position = 0;
  int32_t tokens = 0;
  int32_t key_rank = 0;
  int32_t value_rank = 0;
  uint64_t model_fingerprint = 0;
  Digest profile;
  Digest context;
  StoredError key_error;
  StoredError value_error;

  // Columns of X: layers side by side, within a layer head by head.
  int64_t width() const { return int64_t{layers} * heads * head_dim; }
};

// Bytes of the whole frame, bases counted. REQUIRES: ranks of 1 to the smaller of tokens and width.
int64_t LowRankFrameBytes(int64_t tokens, int64_t width, int64_t key_rank, int64_t value_rank);

// The ranks of the header are those of the bases. REQUIRES: the header's sizes are those of the bases.
std::string SealLowRankFrame(LowRankHeader header, const SharedBasis& keys, const SharedBasis& values);

struct LowRankView {
  LowRankHeader header;
  absl::string_view bytes;         // the frame alone
  absl::Span<const uint8_t> keys;  // for LoadSharedBasis
  absl::Span<const uint8_t> values;
};

// Verifies and describes the frame at `offset` of `batch`, which the view borrows. FAILED_PRECONDITION for a version
// that this build does not read, DATA_LOSS for everything else that is wrong. Never reads outside `batch`.
absl::StatusOr<LowRankView> ParseLowRankFrame(absl::string_view batch, int64_t offset = 0);

// How the model rotates keys: ModelConfig's inverse_frequencies [head_dim / 2] and rope_magnitude.
struct KeyRotation {
  absl::Span<const float> inverse_frequencies;
  float magnitude = 1;
};
// In place, for one key at `position`; unrotating undoes it. Angles are f32, as the engine computes them.
void RotateKey(const KeyRotation& rotation, int32_t position, absl::Span<float> key);
void UnrotateKey(const KeyRotation& rotation, int32_t position, absl::Span<float> key);

// Appends a sealed plain frame of format `full` (kFullBf16 or kFullF32) per layer and kMaxFrameSpan tokens, layer by
// layer. Takes about 2 x tokens x width x (key_rank + value_rank) operations on the calling thread and memory for one
// layer. The caller has checked the header against its model: what is made has the size that the header says.
absl::Status ExpandLowRankFrame(const LowRankView& view, FormatId full, const KeyRotation& rotation, std::string& out);

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_TRANSFORM_LOW_RANK_FRAME_H_
