#include "gpu/kernels/nn/rms_norm.h"

#include "gpu/device/dispatch.h"
#include "gpu/kernels/nn/nn_cuda.h"

namespace decant {

void RmsNorm(Stream& stream, const RmsNormArgs& args) { DECANT_DISPATCH(RmsNorm, stream, args); }

}  // namespace decant
