#ifndef DECANT_GPU_KERNELS_CODEC_SHAPE_KEYS_H_
#define DECANT_GPU_KERNELS_CODEC_SHAPE_KEYS_H_

#include <cstdint>

#include "common/compress/profile.h"
#include "common/kv/format.h"
#include "gpu/device/device.h"

namespace decant {

struct FitKeyBalanceArgs {
  const float* query_peaks = nullptr;  // [channels] the largest |q| of every channel
  const float* key_peaks = nullptr;
  int64_t channels = 0;      // kv_heads x head_dim
  float* balance = nullptr;  // [channels] out
};
// The balancer's factors (common/compress/arith/balance.h), as frames carry them.
void FitKeyBalance(Stream& stream, const FitKeyBalanceArgs& args);

struct ShapeKeysArgs {
  RunType run_type = RunType::kBf16;
  KeyForm form;
  const float* balance = nullptr;  // [kv_heads, head_dim] of a balanced form
  const void* k = nullptr;         // [kv_heads, capacity, head_dim] of the run type
  int64_t capacity = 0;
  int32_t kv_heads = 0;
  int32_t tokens = 0;
  int32_t head_dim = 0;
  void* out = nullptr;  // [kv_heads, out_capacity, head_dim] of the run type; not k
  int64_t out_capacity = 0;
};
// The transform stage between a prompt's keys and their quantiser (common/compress/arith/key_shape.h).
void ShapeKeys(Stream& stream, const ShapeKeysArgs& args);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_CODEC_SHAPE_KEYS_H_
