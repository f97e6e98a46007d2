#include "gpu/kernels/nn/gather_rows.h"

#include "gpu/device/dispatch.h"
#include "gpu/kernels/nn/nn_cuda.h"

namespace decant {

void GatherRows(Stream& stream, const GatherRowsArgs& args) { DECANT_DISPATCH(GatherRows, stream, args); }

}  // namespace decant
