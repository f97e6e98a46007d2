// A frame: the packed, layout-neutral KV of one chunk x a layer range x a kv-head range; unit of transfer and storage.
// Byte table: proto/decant/v1/README.md.
//
// A batch is frames and overlays back to back. Every offset here is a byte offset into the batch, so that it can be
// handed to the encode, import and expand operations as it is. Nothing here knows a page size.
#ifndef DECANT_COMMON_KV_FRAME_H_
#define DECANT_COMMON_KV_FRAME_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/digest.h"
#include "common/kv/format.h"
#include "common/kv/receipt.h"

namespace decant {

inline constexpr uint16_t kFrameVersion = 2;     // written; version 1 is read too
inline constexpr int32_t kFrameTiers = 4;        // those of TierIndex; pruned tokens are absent
inline constexpr int64_t kFrameAlignment = 16;   // of every segment from the frame's first byte, and of its size
inline constexpr int32_t kMaxFrameSpan = 65535;  // position offsets are 16 bits

// What a frame says about itself.
struct FrameHeader {
  uint16_t version = kFrameVersion;  // read from the frame; only kFrameVersion is written
  // kNone: no token of this frame is in the tier.
  FormatId formats[kFrameTiers] = {FormatId::kNone, FormatId::kNone, FormatId::kNone, FormatId::kNone};
  Provenance provenance = Provenance::kUnspecified;
  KeyForm key_form;             // of every tier
  bool k_norm_applied = false;  // K after the model's k-norm (Qwen3)
  // Every run lists its positions; else every run holds the whole span.
  bool explicit_positions = false;
  int32_t first_layer = 0;
  int32_t layers = 1;
  int32_t first_head = 0;  // of the whole model, not of a shard
  int32_t heads = 0;
  int32_t head_dim = 0;
  int32_t first_position = 0;      // of the chunk
  int32_t span = 0;                // tokens of the chunk, pruned ones included
  uint64_t model_fingerprint = 0;  // Digest::Prefix64 of the model's fingerprint
  Digest profile;                  // what encoded it
  Digest context;                  // what it was computed over: the key of the chunk's chain
  StoredError key_error;
  StoredError value_error;
};

// Tokens of one (layer, head, tier) in ascending position and where their segments stand.
struct FrameRun {
  int32_t tokens = 0;
  int64_t keys = 0;        // [tokens, VectorBytes(k)]
  int64_t key_meta = 0;    // [tokens, pairs, 2] fp16: scale, zero; of channel elements [groups, head_dim, 2]
  int64_t values = 0;      // [tokens, VectorBytes(v)]
  int64_t value_meta = 0;  // the same
  int64_t positions = -1;  // [tokens] u16 offsets from first_position; -1: consecutive from first_position
  int64_t statistics = 0;  // [blocks, 2, head_dim] bf16, of formats that have them
};

struct FrameLayout {
  int64_t offset = 0;  // of the frame's first byte
  int64_t bytes = 0;   // multiple of kFrameAlignment
  int32_t heads = 0;
  std::vector<FrameRun> runs;  // [layers, heads, kFrameTiers]
  int64_t balance = -1;        // f32 [layers, heads, head_dim] of balanced keys, else -1

  // `layer` and `head` count from the frame's first ones.
  const FrameRun& run(int32_t layer, int32_t head, int32_t tier) const {
    return runs[static_cast<size_t>((layer * heads + head) * kFrameTiers + tier)];
  }
};

// Places a frame at byte `offset` of a batch. `counts` is [layers, heads, kFrameTiers]. The header's errors are not
// needed yet. REQUIRES: what ParseFrame demands of header and counts; offset a multiple of kFrameAlignment.
FrameLayout LayOutFrame(const FrameHeader& header, absl::Span<const int32_t> counts, int64_t offset = 0);

// Bytes of a frame on a link and in a store, header included.
int64_t WireBytes(const FrameHeader& header, absl::Span<const int32_t> counts);

// Writes header and directory around the segments that were encoded into `batch` (host memory), zeroes the padding
// between them and sets the checksum. The last step of making a frame.
void SealFrame(const FrameHeader& header, const FrameLayout& layout, uint8_t* batch);

// A verified frame; borrows the batch.
struct FrameView {
  FrameHeader header;
  FrameLayout layout;
  absl::string_view bytes;  // the frame alone
};

// Verifies and describes the frame at `offset` of `batch`: sizes, ranges, counts <= span, positions ascending, in range
// no half of a token in two tiers, checksum. FAILED_PRECONDITION for a version that this build does not read, DATA_LOSS
// for everything else that is wrong: both mean a miss. Never reads outside `batch`.
absl::StatusOr<FrameView> ParseFrame(absl::string_view batch, int64_t offset = 0);

}  // namespace decant

#endif  // DECANT_COMMON_KV_FRAME_H_
