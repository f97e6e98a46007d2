#ifndef DECANT_GPU_KERNELS_NN_MATMUL_H_
#define DECANT_GPU_KERNELS_NN_MATMUL_H_

#include <cstdint>
#include <functional>

#include "absl/status/statusor.h"
#include "common/compress/profile.h"
#include "gpu/device/device.h"

namespace decant {

// A weight matrix [outputs, inputs] of the run type, packed once for its products. Move-only.
struct PackedMatrix {
  RunType type = RunType::kF32;
  int32_t inputs = 0;
  int32_t outputs = 0;
  Buffer memory;  // on a host packed_layout.h, with depth = inputs and columns = outputs
};

// Gives rows [first, first + count) of a matrix as f32 [count, inputs] in host memory; called by several threads.
using ReadRows = std::function<void(int32_t first, int32_t count, float* out)>;

// Allocates and packs. RESOURCE_EXHAUSTED when the device has no room.
absl::StatusOr<PackedMatrix> PackMatrix(Stream& stream, RunType type, int32_t outputs, int32_t inputs,
                                        const ReadRows& read);

struct MatmulArgs {
  const PackedMatrix* matrix = nullptr;
  const void* in = nullptr;  // [MatmulRows(rows), inputs] of the run type, dense
  int32_t rows = 0;
  float* out = nullptr;     // [rows, outputs], dense
  bool accumulate = false;  // add to out instead of replacing it
  // MatmulWorkspaceBytes of device memory that no other stream uses meanwhile; null: none, which costs only speed.
  void* workspace = nullptr;
};
// out (+)= in x matrix^T, summed in f32. Rows from `rows` to MatmulRows(rows) may be read and overwritten with
// anything.
void Matmul(Stream& stream, const MatmulArgs& args);
int64_t MatmulWorkspaceBytes(const Device& device);

// Rows that `in` needs memory for: products come in few sizes.
int32_t MatmulRows(int32_t rows);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_NN_MATMUL_H_
