#include <cstring>

#include "gpu/kernels/nn/gather_rows.h"
#include "gpu/kernels/nn/row_parts.h"

namespace decant {

void GatherRowsHost(Stream& stream, const GatherRowsArgs& args) {
  const HostAccess access(stream);
  Device& device = stream.device();
  ForRowParts(device, args.count, args.row_bytes, [&](int32_t first, int32_t last) {
    for (int32_t i = first; i < last; ++i) {
      std::memcpy(static_cast<char*>(args.out) + i * args.row_bytes,
                  static_cast<const char*>(args.in) + args.rows[i] * args.row_bytes,
                  static_cast<size_t>(args.row_bytes));
    }
  });
}

}  // namespace decant
