#ifndef DECANT_GPU_KERNELS_NN_ADD_BIAS_H_
#define DECANT_GPU_KERNELS_NN_ADD_BIAS_H_

#include <cstdint>

#include "gpu/device/device.h"

namespace decant {

struct AddBiasArgs {
  const float* bias = nullptr;  // [width]
  int32_t rows = 0;
  int32_t width = 0;
  float* x = nullptr;  // [rows, width] in place
};
void AddBias(Stream& stream, const AddBiasArgs& args);

void AddBiasHost(Stream& stream, const AddBiasArgs& args);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_NN_ADD_BIAS_H_
