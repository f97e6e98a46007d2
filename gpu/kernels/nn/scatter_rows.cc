#include "gpu/kernels/nn/scatter_rows.h"

#include "common/base/check.h"

namespace decant {

void ScatterRows(Stream& stream, const ScatterRowsArgs& args) {
  DECANT_CHECK(stream.device().kind() == DeviceKind::kHost);
  const HostAccess access(stream);
  ScatterRowsHost(stream.device(), args);
}

}  // namespace decant
