#ifndef DECANT_GPU_KERNELS_NN_SAMPLE_H_
#define DECANT_GPU_KERNELS_NN_SAMPLE_H_

#include <cstdint>

#include "gpu/device/device.h"

namespace decant {

// How the next token is drawn. The random number is a function of (seed, position of the token), so that any worker can
// go on.
struct Sampling {
  float temperature = 0;  // 0 = greedy
  int32_t top_k = 0;      // 0 = all
  float top_p = 1;        // 1 = all
  uint64_t seed = 0;
};

struct SampleArgs {
  const float* logits = nullptr;  // [rows, vocabulary]; rows `stride` floats apart
  int64_t stride = 0;
  int32_t rows = 0;
  int32_t vocabulary = 0;
  const Sampling* sampling = nullptr;  // [rows], device memory
  const int32_t* positions = nullptr;  // [rows] of the tokens that are drawn, device memory
  int32_t* tokens = nullptr;           // [rows] out
  void* scratch = nullptr;             // SampleScratchBytes
};
int64_t SampleScratchBytes(int32_t rows, int32_t vocabulary);
// Draws one token per row: divides by the temperature, keeps the top_k likeliest, of those the fewest whose probability
// reaches top_p (at least one), and draws from what is left. Equal logits rank by ascending id; greedy takes the first
// of the best.
void Sample(Stream& stream, const SampleArgs& args);

void SampleHost(Stream& stream, const SampleArgs& args);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_NN_SAMPLE_H_
