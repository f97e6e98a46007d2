#ifndef DECANT_GPU_KERNELS_NN_SCATTER_ROWS_H_
#define DECANT_GPU_KERNELS_NN_SCATTER_ROWS_H_

#include <cstdint>

#include "gpu/device/device.h"

namespace decant {

struct ScatterRowsArgs {
  const void* in = nullptr;       // `groups` times `count` rows
  const int32_t* rows = nullptr;  // [count], each another row of a group of `out`
  int32_t count = 0;
  int32_t groups = 1;
  int64_t row_bytes = 0;
  int64_t in_group_bytes = 0;  // between two groups
  void* out = nullptr;         // not `in`
  int64_t out_group_bytes = 0;
};
// out[group][rows[i]] = in[group][i]; other rows stay what they are.
void ScatterRows(Stream& stream, const ScatterRowsArgs& args);

void ScatterRowsHost(Stream& stream, const ScatterRowsArgs& args);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_NN_SCATTER_ROWS_H_
