#include "gpu/kernels/nn/embed.h"

#include "common/base/check.h"

namespace decant {

void Embed(Stream& stream, const EmbedArgs& args) {
  DECANT_CHECK(stream.device().kind() == DeviceKind::kHost);
  const HostAccess access(stream);
  EmbedHost(stream.device(), args);
}

}  // namespace decant
