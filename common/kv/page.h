// A page: fixed-size run of bytes with tokens of one (sequence, layer, kv head) in one format. Segments are
// token-major, so that a frame becomes pages by copying runs of bytes.
#ifndef DECANT_COMMON_KV_PAGE_H_
#define DECANT_COMMON_KV_PAGE_H_

#include <cstdint>

#include "common/base/host_device.h"
#include "common/kv/format.h"

namespace decant {

inline constexpr int64_t kSegmentAlignment = 16;  // what the widest vector load of a device wants

// Byte offsets of the segments of a page and how many tokens fit.
struct PageLayout {
  int32_t tokens = 0;
  int32_t keys = 0;        // [tokens, VectorBytes(k)]
  int32_t key_meta = 0;    // [tokens, pairs, 2] fp16: scale, zero; of channel elements [groups, head_dim, 2]
  int32_t values = 0;      // [tokens, VectorBytes(v)]
  int32_t value_meta = 0;  // the same
  int32_t scores = 0;      // [tokens] f32: sum of attention received
  int32_t positions = 0;   // [tokens] i32: true positions
  int32_t statistics = 0;  // [blocks, 2, head_dim] bf16
  int32_t end = 0;         // <= page bytes; the rest is waste
};

DECANT_HOST_DEVICE constexpr int64_t AlignSegment(int64_t offset) {
  return (offset + kSegmentAlignment - 1) / kSegmentAlignment * kSegmentAlignment;
}

// The layout of `tokens` tokens, each segment aligned.
DECANT_HOST_DEVICE constexpr PageLayout LayoutFor(FormatId id, int32_t head_dim, int32_t tokens) {
  const Format format = FormatOf(id);
  PageLayout layout;
  int64_t offset = 0;
  layout.tokens = tokens;
  layout.keys = 0;
  offset = AlignSegment(offset + tokens * VectorBytes(format.k, head_dim));
  layout.key_meta = static_cast<int32_t>(offset);
  offset = AlignSegment(offset + MetaSegmentBytes(format.k, head_dim, tokens));
  layout.values = static_cast<int32_t>(offset);
  offset = AlignSegment(offset + tokens * VectorBytes(format.v, head_dim));
  layout.value_meta = static_cast<int32_t>(offset);
  offset = AlignSegment(offset + MetaSegmentBytes(format.v, head_dim, tokens));
  layout.scores = static_cast<int32_t>(offset);
  offset = AlignSegment(offset + (format.tracked ? 4 * tokens : 0));
  layout.positions = static_cast<int32_t>(offset);
  offset = AlignSegment(offset + (format.tracked ? 4 * tokens : 0));
  layout.statistics = static_cast<int32_t>(offset);
  offset = AlignSegment(offset + StatisticsBytes(id, head_dim, tokens));
  layout.end = static_cast<int32_t>(offset);
  return layout;
}

// The layout with the most tokens that fit `page_bytes`.
DECANT_HOST_DEVICE constexpr PageLayout FitLayout(FormatId id, int32_t head_dim, int64_t page_bytes) {
  const int64_t token_bytes = TokenBytes(id, head_dim);
  if (token_bytes == 0) return PageLayout{};
  const int32_t step = TokenMultiple(id);
  auto tokens = static_cast<int32_t>(page_bytes / token_bytes) / step * step;
  while (tokens > 0 && LayoutFor(id, head_dim, tokens).end > page_bytes) tokens -= step;
  return LayoutFor(id, head_dim, tokens);
}

// The page size, a multiple of 64, that minimises the expected waste over `formats`: inside the page and in the
// half-empty last page of a row of about `row_tokens` tokens. head_dim: a multiple of 8 from 8 to 256.
int64_t ChoosePageBytes(int32_t head_dim, const FormatId* formats, int32_t format_count, int32_t row_tokens);

}  // namespace decant

#endif  // DECANT_COMMON_KV_PAGE_H_
