#include "gpu/kernels/attention/prefill_channel_peaks.h"

#include "common/base/check.h"

namespace decant {

void ChannelPeaks(Stream& stream, const ChannelPeaksArgs& args) {
  DECANT_CHECK(stream.device().kind() == DeviceKind::kHost);
  DECANT_CHECK_MSG(args.group > 0 && args.heads % args.group == 0, "%d heads in groups of %d", args.heads, args.group);
  const HostAccess access(stream);
  ChannelPeaksHost(stream.device(), args);
}

}  // namespace decant
