#ifndef DECANT_GPU_KERNELS_NN_CONVERT_ROWS_H_
#define DECANT_GPU_KERNELS_NN_CONVERT_ROWS_H_

#include <cstdint>

#include "common/compress/profile.h"
#include "gpu/device/device.h"

namespace decant {

struct ConvertRowsArgs {
  const float* in = nullptr;  // [rows, groups, width]; rows `in_stride` floats apart
  int64_t in_stride = 0;
  int32_t rows = 0;
  int32_t groups = 1;
  int32_t width = 0;
  RunType out_type = RunType::kBf16;
  void* out = nullptr;  // element (row, group, i) at row * out_row_stride + group * out_group_stride + i
  int64_t out_row_stride = 0;
  int64_t out_group_stride = 0;
};
// Rows of f32 to rows of the run type, rounded to nearest even; the strides allow heads to move outside tokens.
void ConvertRows(Stream& stream, const ConvertRowsArgs& args);

void ConvertRowsHost(Stream& stream, const ConvertRowsArgs& args);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_NN_CONVERT_ROWS_H_
