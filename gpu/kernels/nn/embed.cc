#include "gpu/kernels/nn/embed.h"

#include "gpu/device/dispatch.h"
#include "gpu/kernels/nn/nn_cuda.h"

namespace decant {

void Embed(Stream& stream, const EmbedArgs& args) { DECANT_DISPATCH(Embed, stream, args); }

}  // namespace decant
