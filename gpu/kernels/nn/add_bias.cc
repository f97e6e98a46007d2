#include "gpu/kernels/nn/add_bias.h"

#include "gpu/device/dispatch.h"
#include "gpu/kernels/nn/nn_cuda.h"

namespace decant {

void AddBias(Stream& stream, const AddBiasArgs& args) { DECANT_DISPATCH(AddBias, stream, args); }

}  // namespace decant
