#include "common/base/check.h"
#include "gpu/kernels/codec/append_token.h"
#include "gpu/kernels/codec/codec_host.h"
#include "gpu/kernels/codec/encode_frames.h"
#include "gpu/kernels/codec/reencode_frames.h"
#include "gpu/kernels/codec/shape_keys.h"

namespace decant {
namespace {

void RequireHost(Stream& stream) {
  DECANT_CHECK_MSG(stream.device().kind() == DeviceKind::kHost, "no codec operations for device %s",
                   stream.device().name().c_str());
}

}  // namespace

void AppendToken(Stream& stream, const AppendTokenArgs& args) {
  RequireHost(stream);
  AppendTokenHost(stream, args);
}

void EncodeFrames(Stream& stream, const EncodeFramesArgs& args) {
  RequireHost(stream);
  EncodeFramesHost(stream, args);
}

void ExpandFrames(Stream& stream, const ExpandFramesArgs& args) {
  RequireHost(stream);
  ExpandFramesHost(stream, args);
}

void ReencodeFrames(Stream& stream, const ReencodeFramesArgs& args) {
  RequireHost(stream);
  ReencodeFramesHost(stream, args);
}

void FitKeyBalance(Stream& stream, const FitKeyBalanceArgs& args) {
  RequireHost(stream);
  FitKeyBalanceHost(stream, args);
}

void ShapeKeys(Stream& stream, const ShapeKeysArgs& args) {
  RequireHost(stream);
  ShapeKeysHost(stream, args);
}

}  // namespace decant
