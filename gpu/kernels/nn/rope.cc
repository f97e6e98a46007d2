#include "gpu/kernels/nn/rope.h"

#include "common/base/check.h"

namespace decant {

void RopeAngles(Stream& stream, const RopeAnglesArgs& args) {
  DECANT_CHECK(stream.device().kind() == DeviceKind::kHost);
  const HostAccess access(stream);
  RopeAnglesHost(stream.device(), args);
}

void Rope(Stream& stream, const RopeArgs& args) {
  DECANT_CHECK(stream.device().kind() == DeviceKind::kHost);
  const HostAccess access(stream);
  RopeHost(stream.device(), args);
}

}  // namespace decant
