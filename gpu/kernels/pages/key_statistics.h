// Read statistics of stored keys; host only, called inside operations.
#ifndef DECANT_GPU_KERNELS_PAGES_KEY_STATISTICS_H_
#define DECANT_GPU_KERNELS_PAGES_KEY_STATISTICS_H_

#include <cstdint>

#include "common/kv/format.h"

namespace decant {

// keys: [tokens, head_dim] of kF32 or kBf16. Writes bf16 [blocks, 2, head_dim]: of every kStatisticsBlock tokens the
// smallest and the largest key per channel, rounded outward.
void WriteKeyStatistics(const uint8_t* keys, int32_t tokens, int32_t head_dim, Element element, uint8_t* statistics);

// The same for one more key, the `index`-th of its block, whose entry [2, head_dim] is `entry`.
void AddKeyToStatistics(const uint8_t* key, int32_t index, int32_t head_dim, Element element, uint8_t* entry);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_PAGES_KEY_STATISTICS_H_
