#include "gpu/kernels/score/select_tiers.h"

#include "gpu/device/dispatch.h"
#include "gpu/kernels/score/select_tiers_cuda.h"
#include "gpu/kernels/score/select_tiers_host.h"

namespace decant {

void SelectTiers(Stream& stream, const SelectTiersArgs& args) { DECANT_DISPATCH(SelectTiers, stream, args); }

}  // namespace decant
