#include "gpu/kernels/nn/swi_glu.h"

#include "gpu/device/dispatch.h"
#include "gpu/kernels/nn/nn_cuda.h"

namespace decant {

void SwiGlu(Stream& stream, const SwiGluArgs& args) { DECANT_DISPATCH(SwiGlu, stream, args); }

}  // namespace decant
