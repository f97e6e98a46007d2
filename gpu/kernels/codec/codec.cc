#include "common/base/check.h"
#include "gpu/device/dispatch.h"
#include "gpu/kernels/codec/codec_cuda.h"
#include "gpu/kernels/codec/codec_host.h"

namespace decant {

void AppendToken(Stream& stream, const AppendTokenArgs& args) { DECANT_DISPATCH(AppendToken, stream, args); }

void EncodeBlocks(Stream& stream, const EncodeBlocksArgs& args) { DECANT_DISPATCH(EncodeBlocks, stream, args); }

void DecodeBlocks(Stream& stream, const DecodeBlocksArgs& args) { DECANT_DISPATCH(DecodeBlocks, stream, args); }

void EncodeFrames(Stream& stream, const EncodeFramesArgs& args) { DECANT_DISPATCH(EncodeFrames, stream, args); }

void ExpandFrames(Stream& stream, const ExpandFramesArgs& args) { DECANT_DISPATCH(ExpandFrames, stream, args); }

void FitKeyBalance(Stream& stream, const FitKeyBalanceArgs& args) { DECANT_DISPATCH(FitKeyBalance, stream, args); }

void ReencodeFrames(Stream& stream, const ReencodeFramesArgs& args) { DECANT_DISPATCH(ReencodeFrames, stream, args); }

void SettleRows(Stream& stream, const SettleRowsArgs& args) {
  DECANT_CHECK_MSG(FormatOf(args.high).tracked && FormatOf(args.low).tracked,
                   "formats %d and %d: only tokens with scores can change their tier", static_cast<int>(args.high),
                   static_cast<int>(args.low));
  DECANT_DISPATCH(SettleRows, stream, args);
}

int64_t SettleRowsScratchBytes(Device& device, const Geometry& geometry, FormatId low, int32_t most_high_tokens) {
#if defined(DECANT_WITH_CUDA)
  if (device.kind() == DeviceKind::kCuda) return SettleRowsScratchBytesCuda(geometry, low, most_high_tokens);
#endif
  DECANT_CHECK_MSG(device.kind() == DeviceKind::kHost, "no codec operations for device %s", device.name().c_str());
  return SettleRowsScratchBytesHost(device, geometry, low, most_high_tokens);
}

void ShapeKeys(Stream& stream, const ShapeKeysArgs& args) { DECANT_DISPATCH(ShapeKeys, stream, args); }

}  // namespace decant
