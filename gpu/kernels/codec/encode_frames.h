#ifndef DECANT_GPU_KERNELS_CODEC_ENCODE_FRAMES_H_
#define DECANT_GPU_KERNELS_CODEC_ENCODE_FRAMES_H_

#include <cstdint>

#include "common/compress/profile.h"
#include "common/kv/receipt.h"
#include "gpu/device/device.h"

namespace decant {

// Where the encoded run of one (chunk, head, tier) goes: byte offsets into the output.
struct EncodeRun {
  int32_t head = 0;
  int32_t tier = 0;         // TierIndex
  int32_t first_token = 0;  // of the chunk in this run of K and V
  int32_t chunk_tokens = 0;
  // A format of only K or only V holds these tokens of the chunk in a row, whatever `tiers` says; -1: those of the
  // tier.
  int32_t from = 0;
  int32_t tokens = -1;
  FormatId format = FormatId::kNone;
  int64_t keys = 0;
  int64_t key_meta = 0;
  int64_t values = 0;
  int64_t value_meta = 0;
  int64_t positions =
      -1;  // u16 offsets from the chunk's first token; -1: not stored because nothing was dropped or moved
  int64_t statistics = 0;  // of formats that have them
  int64_t scores = -1;     // f32, in the overlay; -1: none
};

struct EncodeFramesArgs {
  RunType run_type = RunType::kBf16;
  const void* k = nullptr;  // [kv_heads, capacity, head_dim] of the run type
  const void* v = nullptr;
  int64_t capacity = 0;  // tokens between two heads
  int32_t head_dim = 0;
  const uint8_t* tiers = nullptr;  // [kv_heads, tokens] 0 high, 1 low, 2 pruned; null: all high
  const float* scores = nullptr;   // [kv_heads, tokens] score sums; null: none
  int64_t tokens = 0;
  int32_t key_levels = 0;  // codes in use, 0: all
  int32_t value_levels = 0;
  const EncodeRun* runs = nullptr;
  int32_t run_count = 0;
  uint8_t* out = nullptr;
  StoredError* key_errors = nullptr;    // [run_count], out
  StoredError* value_errors = nullptr;  // [run_count], out
};
// Quantises and packs the tokens of each run's tier, in ascending position, into the places that the caller laid out
// from the counts of SelectTiers.
void EncodeFrames(Stream& stream, const EncodeFramesArgs& args);

struct ExpandRun {
  int32_t head = 0;
  FormatId format = FormatId::kNone;
  int32_t tokens = 0;
  int32_t first_token = 0;  // in the working K and V
  int64_t keys = 0;         // byte offsets into `frames`
  int64_t key_meta = 0;
  int64_t values = 0;
  int64_t value_meta = 0;
};

struct ExpandFramesArgs {
  RunType run_type = RunType::kBf16;
  const uint8_t* frames = nullptr;
  const ExpandRun* runs = nullptr;
  int32_t run_count = 0;
  int32_t head_dim = 0;
  void* k = nullptr;  // [kv_heads, capacity, head_dim] of the run type
  void* v = nullptr;
  int64_t capacity = 0;
};
// Decodes frames of a stored prefix into prefill's working K and V.
void ExpandFrames(Stream& stream, const ExpandFramesArgs& args);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_CODEC_ENCODE_FRAMES_H_
