// How decode attention is cut on a device, and where its parts lie in the scratch; for the host that sizes it and the
// kernels that use it. What is cut depends on numbers that the host knows, so that a captured step stays valid.
#ifndef DECANT_GPU_KERNELS_ATTENTION_DECODE_SPLIT_H_
#define DECANT_GPU_KERNELS_ATTENTION_DECODE_SPLIT_H_

#include <cstdint>

#include "common/base/host_device.h"
#include "common/kv/rows.h"

namespace decant {

inline constexpr int32_t kMostSplits = 64;
// A split's output is written and read once more: with fewer tokens that would be seen in the bytes moved.
inline constexpr int32_t kLeastSplitTokens = 1024;
// Blocks that keep a large device busy; a few for each of its processors.
inline constexpr int64_t kWantedBlocks = 1024;

DECANT_HOST_DEVICE int32_t DecodeSplits(int64_t pairs, int64_t most_tokens) {
  const int64_t wanted = pairs > 0 ? (kWantedBlocks + pairs - 1) / pairs : 1;
  const int64_t longest = (most_tokens + kLeastSplitTokens - 1) / kLeastSplitTokens;
  const int64_t splits = wanted < longest ? wanted : longest;
  return static_cast<int32_t>(splits < 1 ? 1 : splits < kMostSplits ? splits : kMostSplits);
}

// Tokens of each split of a head but its last; later splits have none.
DECANT_HOST_DEVICE int32_t SplitTokens(int32_t tokens, int32_t splits) {
  constexpr int32_t kUnit = 64;
  const int32_t share = ((tokens + splits - 1) / splits + kUnit - 1) / kUnit * kUnit;
  return share > kLeastSplitTokens ? share : kLeastSplitTokens;
}

// Offsets in floats. A pair is a (sequence, kv head).
struct DecodeScratch {
  DECANT_HOST_DEVICE DecodeScratch(const Geometry& geometry, int64_t sequences, int64_t most_tokens)
      : group(geometry.q_heads / geometry.kv_heads),
        head_dim(geometry.head_dim),
        stride((most_tokens + 15) / 16 * 16),
        pairs(sequences * geometry.kv_heads),
        splits(DecodeSplits(pairs, most_tokens)) {
    part_floats = 2 * group + group * head_dim;
    logits = pairs * splits * part_floats;
    blocks = logits + pairs * group * stride;
    block_stride = most_tokens / kStatisticsBlock + 1;
    bounds = blocks + pairs * block_stride;
    block_counts = bounds + pairs * block_stride;
    floats = block_counts + pairs;
  }

  // Largest logit and sum of weights, each [group], then the weighted sum of values [group, head_dim].
  DECANT_HOST_DEVICE int64_t Part(int64_t pair, int32_t split) const { return (pair * splits + split) * part_floats; }
  // [stride, group] of the head's tokens; only rows whose policy keeps scores use it.
  DECANT_HOST_DEVICE int64_t Logits(int64_t pair) const { return logits + pair * group * stride; }

  int64_t group;
  int64_t head_dim;
  int64_t stride;
  int64_t pairs;
  int32_t splits;
  int64_t part_floats = 0;
  int64_t logits = 0;
  int64_t blocks = 0;  // [pairs, block_stride] i32, of rows with a read policy
  int64_t block_stride = 0;
  int64_t bounds = 0;        // [pairs, block_stride]
  int64_t block_counts = 0;  // [pairs] i32; 0: the head is read whole
  int64_t floats = 0;
};

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_ATTENTION_DECODE_SPLIT_H_
