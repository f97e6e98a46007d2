#include "gpu/kernels/attention/decode_attention.h"

#include "common/base/check.h"
#include "gpu/kernels/attention/decode_attention_host.h"

namespace decant {

int64_t DecodeAttentionScratchBytes(const Device& device, const Geometry& geometry, int64_t scratch_tokens) {
  return DecodeAttentionHostScratchBytes(device.threads(), geometry, scratch_tokens);
}

void DecodeAttention(Stream& stream, const DecodeAttentionArgs& args) {
  DECANT_CHECK(stream.device().kind() == DeviceKind::kHost);
  const Geometry& geometry = args.arena.geometry;
  DECANT_CHECK_MSG(
      geometry.group() <= kMaxAttentionGroup && geometry.head_dim <= kMaxAttentionHeadDim && geometry.head_dim % 8 == 0,
      "group %d, head_dim %d", geometry.group(), geometry.head_dim);
  DecodeAttentionHost(stream, args);
}

}  // namespace decant
