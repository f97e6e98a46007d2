#include "gpu/kernels/nn/gather_rows.h"

#include "common/base/check.h"

namespace decant {

void GatherRows(Stream& stream, const GatherRowsArgs& args) {
  DECANT_CHECK(stream.device().kind() == DeviceKind::kHost);
  const HostAccess access(stream);
  GatherRowsHost(stream.device(), args);
}

}  // namespace decant
