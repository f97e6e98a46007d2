#include "gpu/kernels/nn/rms_norm.h"

#include "common/base/check.h"

namespace decant {

void RmsNorm(Stream& stream, const RmsNormArgs& args) {
  DECANT_CHECK(stream.device().kind() == DeviceKind::kHost);
  const HostAccess access(stream);
  RmsNormHost(stream.device(), args);
}

}  // namespace decant
