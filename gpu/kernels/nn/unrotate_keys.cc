#include "gpu/kernels/nn/unrotate_keys.h"

#include "gpu/device/dispatch.h"
#include "gpu/kernels/nn/nn_cuda.h"

namespace decant {

void UnrotateKeys(Stream& stream, const UnrotateKeysArgs& args) { DECANT_DISPATCH(UnrotateKeys, stream, args); }

}  // namespace decant
