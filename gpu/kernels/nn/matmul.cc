#include "gpu/kernels/nn/matmul.h"

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "gpu/kernels/nn/matmul_host.h"
#include "gpu/kernels/nn/packed_layout.h"
#include "gpu/kernels/nn/product_host.h"

namespace decant {

absl::StatusOr<PackedMatrix> PackMatrix(Stream& stream, RunType type, int32_t outputs, int32_t inputs,
                                        const ReadRows& read) {
  DECANT_CHECK(stream.device().kind() == DeviceKind::kHost);
  PackedMatrix matrix{type, inputs, outputs, Buffer()};
  DECANT_ASSIGN_OR_RETURN(matrix.memory,
                          stream.device().Allocate(PackedElements(type, inputs, outputs) * RunTypeBytes(type)));
  const HostAccess access(stream);
  PackMatrixHost(stream.device(), matrix, read);
  return matrix;
}

void Matmul(Stream& stream, const MatmulArgs& args) {
  DECANT_CHECK(stream.device().kind() == DeviceKind::kHost);
  const HostAccess access(stream);
  MatmulHost(stream.device(), args);
}

int32_t MatmulRows(int32_t rows) { return rows / kRowTile * kRowTile + TailRows(rows % kRowTile); }

}  // namespace decant
