#include "gpu/kernels/attention/decode_attention.h"

#include "common/base/check.h"
#include "gpu/device/dispatch.h"
#include "gpu/kernels/attention/decode_attention_cuda.h"
#include "gpu/kernels/attention/decode_attention_host.h"

namespace decant {

int64_t DecodeAttentionScratchBytes(const Device& device, const Geometry& geometry, [[maybe_unused]] int32_t sequences,
                                    int64_t scratch_tokens) {
#if defined(DECANT_WITH_CUDA)
  if (device.kind() == DeviceKind::kCuda) return DecodeAttentionCudaScratchBytes(geometry, sequences, scratch_tokens);
#endif
  return DecodeAttentionHostScratchBytes(device.threads(), geometry, scratch_tokens);
}

void DecodeAttention(Stream& stream, const DecodeAttentionArgs& args) {
  const Geometry& geometry = args.arena.geometry;
  DECANT_CHECK_MSG(
      geometry.group() <= kMaxAttentionGroup && geometry.head_dim <= kMaxAttentionHeadDim && geometry.head_dim % 8 == 0,
      "group %d, head_dim %d", geometry.group(), geometry.head_dim);
  DECANT_DISPATCH(DecodeAttention, stream, args);
}

}  // namespace decant
