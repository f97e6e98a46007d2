#include "gpu/kernels/nn/add_bias.h"
#include "gpu/kernels/nn/row_parts.h"

namespace decant {

void AddBiasHost(Stream& stream, const AddBiasArgs& args) {
  const HostAccess access(stream);
  Device& device = stream.device();
  ForRowParts(device, args.rows, args.width, [&](int32_t first, int32_t last) {
    for (int32_t row = first; row < last; ++row) {
      float* x = args.x + int64_t{row} * args.width;
      for (int32_t i = 0; i < args.width; ++i) x[i] += args.bias[i];
    }
  });
}

}  // namespace decant
