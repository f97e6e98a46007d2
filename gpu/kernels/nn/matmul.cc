#include "gpu/kernels/nn/matmul.h"

#include "common/base/status_macros.h"
#include "gpu/device/dispatch.h"
#include "gpu/kernels/nn/matmul_host.h"
#include "gpu/kernels/nn/nn_cuda.h"
#include "gpu/kernels/nn/packed_layout.h"
#include "gpu/kernels/nn/product_host.h"

namespace decant {

absl::StatusOr<PackedMatrix> PackMatrix(Stream& stream, RunType type, int32_t outputs, int32_t inputs,
                                        const ReadRows& read) {
  PackedMatrix matrix{type, inputs, outputs, Buffer()};
  const bool plain = stream.device().kind() == DeviceKind::kCuda;
  const int64_t elements = plain ? int64_t{inputs} * outputs : PackedElements(type, inputs, outputs);
  DECANT_ASSIGN_OR_RETURN(matrix.memory, stream.device().Allocate(elements * RunTypeBytes(type)));
  DECANT_DISPATCH(PackMatrix, stream, matrix, read);
  DECANT_RETURN_IF_ERROR(stream.Synchronize());
  return matrix;
}

void Matmul(Stream& stream, const MatmulArgs& args) { DECANT_DISPATCH(Matmul, stream, args); }

int64_t MatmulWorkspaceBytes([[maybe_unused]] const Device& device) {
#if defined(DECANT_WITH_CUDA)
  if (device.kind() == DeviceKind::kCuda) return MatmulCudaWorkspaceBytes();
#endif
  return 0;
}

int32_t MatmulRows(int32_t rows) { return rows / kRowTile * kRowTile + TailRows(rows % kRowTile); }

}  // namespace decant
