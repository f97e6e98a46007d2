#include "gpu/kernels/attention/prefill_attention.h"

#include "common/base/check.h"
#include "gpu/kernels/attention/prefill_attention_host.h"

namespace decant {

int64_t PrefillAttentionScratchBytes(const Device& device, RunType run_type, int64_t capacity, int32_t kv_heads,
                                     int32_t head_dim) {
  return PrefillAttentionScratchBytesHost(device.threads(), run_type, capacity, kv_heads, head_dim);
}

void PrefillAttention(Stream& stream, const PrefillAttentionArgs& args) {
  DECANT_CHECK(stream.device().kind() == DeviceKind::kHost);
  PrefillAttentionHost(stream, args);
}

}  // namespace decant
