#include "gpu/kernels/score/select_tiers.h"

#include "common/base/check.h"
#include "gpu/kernels/score/select_tiers_host.h"

namespace decant {

void SelectTiers(Stream& stream, const SelectTiersArgs& args) {
  DECANT_CHECK_MSG(stream.device().kind() == DeviceKind::kHost, "no score operations for device %s",
                   stream.device().name().c_str());
  SelectTiersHost(stream, args);
}

}  // namespace decant
