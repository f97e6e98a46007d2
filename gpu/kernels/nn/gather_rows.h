#ifndef DECANT_GPU_KERNELS_NN_GATHER_ROWS_H_
#define DECANT_GPU_KERNELS_NN_GATHER_ROWS_H_

#include <cstdint>

#include "gpu/device/device.h"

namespace decant {

struct GatherRowsArgs {
  const void* in = nullptr;
  const int32_t* rows = nullptr;  // [count], each a row of `in`
  int32_t count = 0;
  int64_t row_bytes = 0;
  void* out = nullptr;  // [count] rows; not `in`
};
// out[i] = in[rows[i]].
void GatherRows(Stream& stream, const GatherRowsArgs& args);

void GatherRowsHost(Stream& stream, const GatherRowsArgs& args);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_NN_GATHER_ROWS_H_
