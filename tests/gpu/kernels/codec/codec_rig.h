// Prompts as the encode operation sees them, and back: what the tests of codec and pages share.
#ifndef DECANT_TESTS_GPU_KERNELS_CODEC_CODEC_RIG_H_
#define DECANT_TESTS_GPU_KERNELS_CODEC_CODEC_RIG_H_

#include <cstdint>
#include <string>
#include <vector>

#include "common/compress/profile.h"
#include "common/kv/batch.h"
#include "gpu/device/device.h"
#include "gpu/kernels/codec/frame_runs.h"

namespace decant {

// K and V of one layer of a prompt, with a tier and a score per token.
struct PromptLayer {
  RunType run_type = RunType::kF32;
  int32_t heads = 0;
  int32_t head_dim = 0;
  int32_t tokens = 0;
  std::vector<float> k;        // [heads, tokens, head_dim]; values that bf16 holds when the run type is bf16
  std::vector<float> v;        // the same
  std::vector<uint8_t> tiers;  // [heads, tokens]; empty: all high
  std::vector<float> scores;   // [heads, tokens]

  const float* key(int32_t head, int32_t token) const { return k.data() + (head * tokens + token) * head_dim; }
  const float* value(int32_t head, int32_t token) const { return v.data() + (head * tokens + token) * head_dim; }
};

// Random vectors; tiers at random where `tiered`.
PromptLayer RandomPrompt(uint64_t seed, RunType run_type, int32_t heads, int32_t head_dim, int32_t tokens, bool tiered);

struct EncodedPrompt {
  std::string batch;  // chunk after chunk: frame, overlay
  StoredError key_error;
  StoredError value_error;
};

// Runs EncodeFrames over the whole prompt in chunks and seals the frames. `with_overlay` adds the scores.
EncodedPrompt EncodePrompt(Device& device, const PromptLayer& prompt, FormatId high, FormatId low, int32_t chunk_tokens,
                           bool with_overlay);

// What the scalar arithmetic stores and reads back for one vector; levels as in EncodeVector.
std::vector<float> ScalarRoundTrip(const float* x, int32_t count, Element element, int32_t levels = 0);
// The bytes it stores, codes then meta.
std::string ScalarEncode(const float* x, int32_t count, Element element, int32_t levels = 0);
// The floats that stored bytes, codes then meta, stand for.
std::vector<float> ScalarDecode(const std::string& bytes, int32_t count, Element element);
// What ReencodeFrames makes of one stored vector; rotations as in ReencodeRun.
std::string ScalarReencode(const std::string& bytes, Element from, Element to, int32_t count, int32_t levels,
                           int32_t unrotate, int32_t rotate);
// As ScalarEncode for the vectors of one group whose pairs belong to channels: codes of all, then meta; [rows,
// head_dim].
std::string ScalarEncodeChannels(const std::vector<const float*>& rows, int32_t head_dim, Element element,
                                 int32_t levels = 0);
std::vector<float> ScalarRoundTripChannels(const std::vector<const float*>& rows, int32_t head_dim, Element element,
                                           int32_t levels = 0);

}  // namespace decant

#endif  // DECANT_TESTS_GPU_KERNELS_CODEC_CODEC_RIG_H_
