#include "gpu/kernels/attention/prefill_channel_peaks.h"

#include "common/base/check.h"
#include "gpu/device/dispatch.h"
#include "gpu/kernels/attention/prefill_cuda.h"

namespace decant {

void ChannelPeaks(Stream& stream, const ChannelPeaksArgs& args) {
  DECANT_CHECK_MSG(args.group > 0 && args.heads % args.group == 0, "%d heads in groups of %d", args.heads, args.group);
  DECANT_DISPATCH(ChannelPeaks, stream, args);
}

}  // namespace decant
