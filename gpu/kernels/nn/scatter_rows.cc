#include "gpu/kernels/nn/scatter_rows.h"

#include "gpu/device/dispatch.h"
#include "gpu/kernels/nn/nn_cuda.h"

namespace decant {

void ScatterRows(Stream& stream, const ScatterRowsArgs& args) { DECANT_DISPATCH(ScatterRows, stream, args); }

}  // namespace decant
