#ifndef DECANT_GPU_KERNELS_ATTENTION_PREFILL_TOKEN_CHOICE_H_
#define DECANT_GPU_KERNELS_ATTENTION_PREFILL_TOKEN_CHOICE_H_

#include <cstdint>

#include "gpu/device/device.h"

namespace decant {

struct TokenChoiceArgs {
  const float* sums = nullptr;  // [q_heads, stride]: attention received from the last `window` queries
  int64_t stride = 0;
  int32_t q_heads = 0;
  int32_t tokens = 0;
  int32_t window = 0;         // at most `kept`
  int32_t kernel = 1;         // of the pooling, odd; 1: none
  bool average = false;       // pooling, else the maximum
  int32_t kept = 0;           // at most `tokens`
  float* scores = nullptr;    // scratch [tokens]
  int32_t* chosen = nullptr;  // [tokens] out: the first `kept` are the rows that go on, ascending
};
// Token-selective propagation (dongwonjo/FastKV baselines/fastkv/utils.py): the last `window` rows, and of those before
// them the kept - window with the largest sum over all query heads of their pooled scores. Pooling sees no row of the
// window; beyond the ends an average counts zeros and a maximum nothing, as torch's pools. Of equal scores the earlier
// row is chosen.
void ChooseTokens(Stream& stream, const TokenChoiceArgs& args);

void ChooseTokensHost(Stream& stream, const TokenChoiceArgs& args);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_ATTENTION_PREFILL_TOKEN_CHOICE_H_
