#ifndef DECANT_GPU_KERNELS_NN_SWI_GLU_H_
#define DECANT_GPU_KERNELS_NN_SWI_GLU_H_

#include <cstdint>

#include "common/compress/profile.h"
#include "gpu/device/device.h"

namespace decant {

struct SwiGluArgs {
  const float* gate_up = nullptr;  // [rows, 2, width]: gate, then up
  int32_t rows = 0;
  int32_t width = 0;
  RunType out_type = RunType::kF32;
  void* out = nullptr;  // [rows, width] of out_type
};
// out = gate / (1 + exp(-gate)) * up (Shazeer, 2020).
void SwiGlu(Stream& stream, const SwiGluArgs& args);

void SwiGluHost(Stream& stream, const SwiGluArgs& args);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_NN_SWI_GLU_H_
