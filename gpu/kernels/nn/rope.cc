#include "gpu/kernels/nn/rope.h"

#include "gpu/device/dispatch.h"
#include "gpu/kernels/nn/nn_cuda.h"

namespace decant {

void RopeAngles(Stream& stream, const RopeAnglesArgs& args) { DECANT_DISPATCH(RopeAngles, stream, args); }

void Rope(Stream& stream, const RopeArgs& args) { DECANT_DISPATCH(Rope, stream, args); }

}  // namespace decant
