#include "gpu/kernels/nn/sample.h"

#include "gpu/device/dispatch.h"
#include "gpu/kernels/nn/nn_cuda.h"

namespace decant {

void Sample(Stream& stream, const SampleArgs& args) { DECANT_DISPATCH(Sample, stream, args); }

}  // namespace decant
