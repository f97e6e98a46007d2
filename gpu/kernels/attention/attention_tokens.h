// What one head's attention goes through, for host and device.
#ifndef DECANT_GPU_KERNELS_ATTENTION_ATTENTION_TOKENS_H_
#define DECANT_GPU_KERNELS_ATTENTION_ATTENTION_TOKENS_H_

#include <cstdint>

#include "common/base/host_device.h"
#include "common/kv/rows.h"

namespace decant {

// Tokens that a head attends to; of a split row, whose tiers hold keys or values, its keys.
DECANT_HOST_DEVICE int64_t AttendedTokens(const SequenceRows& rows, const HeadState& head) {
  const int64_t tokens = int64_t{head.tokens[kFixed]} + head.tokens[kHigh];
  return rows.split() ? tokens : tokens + head.tokens[kLow];
}

// Bytes of K and V, their scales and read statistics that attention over a head goes through. `block_tokens`: the
// tokens of the blocks that a read policy chose, all but the last of which it looked up; 0: all tokens are read.
DECANT_HOST_DEVICE int64_t AttentionBytes(const SequenceRows& rows, const HeadState& head, int32_t head_dim,
                                          int64_t block_tokens) {
  if (block_tokens > 0) {
    const FormatId id = rows.formats[kHigh];
    const Format format = FormatOf(id);
    return block_tokens * (VectorBytes(format.k, head_dim) + VectorBytes(format.v, head_dim)) +
           StatisticsBytes(id, head_dim, head.tokens[kHigh] - kStatisticsBlock);
  }
  int64_t bytes = 0;
  for (int32_t tier = 0; tier < kTierCount; ++tier) {
    const Format format = FormatOf(rows.formats[tier]);
    const int64_t tokens = head.tokens[tier];
    bytes += tokens * (VectorBytes(format.k, head_dim) + VectorBytes(format.v, head_dim)) +
             MetaSegmentBytes(format.k, head_dim, tokens) + MetaSegmentBytes(format.v, head_dim, tokens);
  }
  return bytes;
}

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_ATTENTION_ATTENTION_TOKENS_H_
