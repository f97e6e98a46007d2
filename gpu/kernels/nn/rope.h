#ifndef DECANT_GPU_KERNELS_NN_ROPE_H_
#define DECANT_GPU_KERNELS_NN_ROPE_H_

#include <cstdint>

#include "gpu/device/device.h"

namespace decant {

struct RopeAnglesArgs {
  const int32_t* positions = nullptr;          // [rows]
  const float* inverse_frequencies = nullptr;  // [head_dim / 2]
  float magnitude = 1;
  int32_t rows = 0;
  int32_t head_dim = 0;
  float* angles = nullptr;  // [rows, head_dim] out: head_dim / 2 cosines, then as many sines, times the magnitude
};
// The rotations of every row, computed once for all heads and layers.
void RopeAngles(Stream& stream, const RopeAnglesArgs& args);

struct RopeArgs {
  const float* angles = nullptr;  // [rows, head_dim]
  int32_t rows = 0;
  int32_t heads = 0;
  int32_t head_dim = 0;
  float* x = nullptr;  // [rows, heads, head_dim] in place; rows `stride` floats apart
  int64_t stride = 0;
};
// Rotary embedding in halves order (element i pairs with i + head_dim / 2): Su et al., 2021, as Hugging Face lays it
// out.
void Rope(Stream& stream, const RopeArgs& args);

void RopeAnglesHost(Stream& stream, const RopeAnglesArgs& args);
void RopeHost(Stream& stream, const RopeArgs& args);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_NN_ROPE_H_
