#ifndef DECANT_GPU_ENGINE_SAMPLING_H_
#define DECANT_GPU_ENGINE_SAMPLING_H_

#include <cstdint>

namespace decant {

// How the next token is drawn. The random number is a function of (seed, position of the token), so that any worker can
// go on.
struct Sampling {
  float temperature = 0;  // 0 = greedy
  int32_t top_k = 0;      // 0 = all
  float top_p = 1;        // 1 = all
  uint64_t seed = 0;
};

}  // namespace decant

#endif  // DECANT_GPU_ENGINE_SAMPLING_H_
