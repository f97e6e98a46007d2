#include "gpu/kernels/nn/convert_rows.h"

#include "common/base/check.h"

namespace decant {

void ConvertRows(Stream& stream, const ConvertRowsArgs& args) {
  DECANT_CHECK(stream.device().kind() == DeviceKind::kHost);
  const HostAccess access(stream);
  ConvertRowsHost(stream.device(), args);
}

}  // namespace decant
