#include "gpu/kernels/nn/convert_rows.h"

#include "gpu/device/dispatch.h"
#include "gpu/kernels/nn/nn_cuda.h"

namespace decant {

void ConvertRows(Stream& stream, const ConvertRowsArgs& args) { DECANT_DISPATCH(ConvertRows, stream, args); }

}  // namespace decant
