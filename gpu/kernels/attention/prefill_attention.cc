#include "gpu/kernels/attention/prefill_attention.h"

#include "common/base/check.h"
#include "gpu/device/dispatch.h"
#include "gpu/kernels/attention/prefill_cuda.h"
#include "gpu/kernels/attention/prefill_scratch.h"

namespace decant {

int64_t PrefillAttentionScratchBytes(const Device& device, RunType run_type, int32_t queries, int32_t keys,
                                     int32_t q_heads, int32_t kv_heads, int32_t head_dim, int32_t signals) {
#if defined(DECANT_WITH_CUDA)
  if (device.kind() == DeviceKind::kCuda) return PrefillAttentionCudaScratchBytes(queries, q_heads);
#endif
  return PrefillScratch(run_type, queries, keys, q_heads, kv_heads, head_dim, signals, device.threads()).bytes;
}

void PrefillAttention(Stream& stream, const PrefillAttentionArgs& args) {
  DECANT_CHECK_MSG(args.first_query + args.queries <= args.scratch_keys && args.packed_keys <= args.first_query,
                   "queries from %d on, %d of them, %d packed, scratch for %d keys", args.first_query, args.queries,
                   args.packed_keys, args.scratch_keys);
  DECANT_CHECK_MSG(args.sum_count <= kMaxAttentionSums, "%d sums, at most %d", args.sum_count, kMaxAttentionSums);
  const ReplayPeaks& replay = args.replay;
  DECANT_CHECK_MSG(
      replay.peaks == nullptr || (0 <= replay.sinks && replay.sinks <= replay.begin && replay.begin <= replay.end &&
                                  replay.end <= args.tail_from && args.tail_from <= args.first_query),
      "replay of keys %d to %d with %d sinks, tail from %d, queries from %d", replay.begin, replay.end, replay.sinks,
      args.tail_from, args.first_query);
  DECANT_DISPATCH(PrefillAttention, stream, args);
}

}  // namespace decant
