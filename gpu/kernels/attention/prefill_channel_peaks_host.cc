#include "gpu/kernels/attention/prefill_channel_peaks.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "gpu/kernels/attention/prefill_channel_peaks_host.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "gpu/kernels/nn/run_type-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant {
namespace HWY_NAMESPACE {

template <typename T>
void RaisePeaks(const ChannelPeaksArgs& args, int64_t out_head) {
  float* const peaks = args.peaks + out_head * args.head_dim;
  for (int64_t head = out_head * args.group; head < (out_head + 1) * args.group; ++head) {
    for (int32_t row = 0; row < args.rows; ++row) {
      const T* const x = static_cast<const T*>(args.x) + row * args.row_stride + head * args.head_stride;
      ForLanes(args.head_dim, [&](auto tag, int64_t i) HWY_ATTR {
        const auto magnitude = hn::Abs(LoadRun(tag, x + i));
        hn::StoreU(hn::Max(hn::LoadU(tag, peaks + i), magnitude), tag, peaks + i);
      });
    }
  }
}

void RaiseHeadPeaks(const ChannelPeaksArgs& args, int64_t out_head) {
  if (args.type == RunType::kBf16) {
    RaisePeaks<Bf16>(args, out_head);
  } else {
    RaisePeaks<float>(args, out_head);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace decant
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace decant {

HWY_EXPORT(RaiseHeadPeaks);
void ChannelPeaksHost(Stream& stream, const ChannelPeaksArgs& args) {
  const HostAccess access(stream);
  stream.device().ParallelFor(args.heads / args.group, [&](int64_t head, int) {
    HWY_DYNAMIC_DISPATCH(RaiseHeadPeaks)(args, head);
  });
}

}  // namespace decant
#endif
