#include <cstring>
#include <functional>

#include "gpu/kernels/nn/scatter_rows.h"

namespace decant {

void ScatterRowsHost(Stream& stream, const ScatterRowsArgs& args) {
  const HostAccess access(stream);
  Device& device = stream.device();
  const auto scatter = [&args](int64_t group, int) {
    const char* from = static_cast<const char*>(args.in) + group * args.in_group_bytes;
    char* const to = static_cast<char*>(args.out) + group * args.out_group_bytes;
    for (int32_t i = 0; i < args.count; ++i, from += args.row_bytes) {
      std::memcpy(to + args.rows[i] * args.row_bytes, from, static_cast<size_t>(args.row_bytes));
    }
  };
  device.ParallelFor(args.groups, std::cref(scatter));
}

}  // namespace decant
