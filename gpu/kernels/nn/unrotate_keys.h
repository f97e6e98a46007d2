#ifndef DECANT_GPU_KERNELS_NN_UNROTATE_KEYS_H_
#define DECANT_GPU_KERNELS_NN_UNROTATE_KEYS_H_

#include <cstdint>

#include "common/compress/profile.h"
#include "gpu/device/device.h"

namespace decant {

struct UnrotateKeysArgs {
  RunType run_type = RunType::kBf16;
  const float* angles = nullptr;  // [tokens, head_dim] as RopeAngles makes them
  const void* k = nullptr;        // [heads, capacity, head_dim] of the run type, after rope
  void* out = nullptr;            // the same before it; may be k
  int64_t capacity = 0;
  int32_t heads = 0;
  int32_t tokens = 0;
  int32_t head_dim = 0;
};
// Takes rope back from stored keys: the rotation by the opposite angle, and what the angles were multiplied by once
// more. Of keys that were rounded after rope this gives the rounding of another vector of the same length.
void UnrotateKeys(Stream& stream, const UnrotateKeysArgs& args);

void UnrotateKeysHost(Stream& stream, const UnrotateKeysArgs& args);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_NN_UNROTATE_KEYS_H_
