#include "gpu/kernels/nn/sample.h"

#include "common/base/check.h"

namespace decant {

void Sample(Stream& stream, const SampleArgs& args) {
  DECANT_CHECK(stream.device().kind() == DeviceKind::kHost);
  const HostAccess access(stream);
  SampleHost(stream.device(), args);
}

}  // namespace decant
