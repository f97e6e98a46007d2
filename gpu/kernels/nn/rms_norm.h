#ifndef DECANT_GPU_KERNELS_NN_RMS_NORM_H_
#define DECANT_GPU_KERNELS_NN_RMS_NORM_H_

#include <cstdint>

#include "common/compress/profile.h"
#include "gpu/device/device.h"

namespace decant {

struct RmsNormArgs {
  const float* in = nullptr;  // [rows, groups, width]; rows `in_stride` floats apart
  int64_t in_stride = 0;
  int32_t rows = 0;
  int32_t groups = 1;  // each normed by itself with the same weight: heads, or 1
  int32_t width = 0;
  const float* weight = nullptr;  // [width]
  float epsilon = 0;
  RunType out_type = RunType::kF32;
  void* out = nullptr;  // [rows, groups, width] of out_type; rows `out_stride` elements apart; may be `in`
  int64_t out_stride = 0;
};
// out = in / sqrt(mean(in^2) + epsilon) * weight (Zhang and Sennrich, 2019).
void RmsNorm(Stream& stream, const RmsNormArgs& args);

void RmsNormHost(Stream& stream, const RmsNormArgs& args);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_NN_RMS_NORM_H_
