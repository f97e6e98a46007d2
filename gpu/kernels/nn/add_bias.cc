#include "gpu/kernels/nn/add_bias.h"

#include "common/base/check.h"

namespace decant {

void AddBias(Stream& stream, const AddBiasArgs& args) {
  DECANT_CHECK(stream.device().kind() == DeviceKind::kHost);
  const HostAccess access(stream);
  AddBiasHost(stream.device(), args);
}

}  // namespace decant
