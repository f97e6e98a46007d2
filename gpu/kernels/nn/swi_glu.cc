#include "gpu/kernels/nn/swi_glu.h"

#include "common/base/check.h"

namespace decant {

void SwiGlu(Stream& stream, const SwiGluArgs& args) {
  DECANT_CHECK(stream.device().kind() == DeviceKind::kHost);
  const HostAccess access(stream);
  SwiGluHost(stream.device(), args);
}

}  // namespace decant
