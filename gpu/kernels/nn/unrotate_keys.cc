#include "gpu/kernels/nn/unrotate_keys.h"

#include "common/base/check.h"

namespace decant {

void UnrotateKeys(Stream& stream, const UnrotateKeysArgs& args) {
  DECANT_CHECK(stream.device().kind() == DeviceKind::kHost);
  const HostAccess access(stream);
  UnrotateKeysHost(stream.device(), args);
}

}  // namespace decant
