#include "common/base/half.h"
#include "gpu/kernels/nn/embed.h"
#include "gpu/kernels/nn/packed_layout.h"
#include "gpu/kernels/nn/row_parts.h"

namespace decant {
namespace {

template <typename T>
void CopyColumn(const PackedMatrix& table, int32_t id, float* out) {
  const T* packed = table.memory.As<T>();
  for (int32_t i = 0; i < table.inputs; ++i) out[i] = ToFloat(packed[PackedIndex(table.type, table.inputs, i, id)]);
}

}  // namespace

void EmbedHost(Stream& stream, const EmbedArgs& args) {
  const HostAccess access(stream);
  Device& device = stream.device();
  const PackedMatrix& table = *args.table;
  ForRowParts(device, args.rows, int64_t{table.inputs} * 8, [&](int32_t first, int32_t last) {
    for (int32_t row = first; row < last; ++row) {
      float* out = args.out + int64_t{row} * table.inputs;
      if (table.type == RunType::kBf16) {
        CopyColumn<Bf16>(table, args.ids[row], out);
      } else {
        CopyColumn<float>(table, args.ids[row], out);
      }
    }
  });
}

}  // namespace decant
