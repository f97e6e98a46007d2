#include "gpu/kernels/codec/settle_rows.h"

#include "common/base/check.h"
#include "gpu/kernels/codec/codec_host.h"

namespace decant {

void SettleRows(Stream& stream, const SettleRowsArgs& args) {
  DECANT_CHECK_MSG(FormatOf(args.high).tracked && FormatOf(args.low).tracked,
                   "formats %d and %d: only tokens with scores can change their tier", static_cast<int>(args.high),
                   static_cast<int>(args.low));
  DECANT_CHECK_MSG(stream.device().kind() == DeviceKind::kHost, "no codec operations for device %s",
                   stream.device().name().c_str());
  SettleRowsHost(stream, args);
}

int64_t SettleRowsScratchBytes(Device& device, const Geometry& geometry, FormatId low, int32_t most_high_tokens) {
  DECANT_CHECK_MSG(device.kind() == DeviceKind::kHost, "no codec operations for device %s", device.name().c_str());
  return SettleRowsScratchBytesHost(device, geometry, low, most_high_tokens);
}

}  // namespace decant
