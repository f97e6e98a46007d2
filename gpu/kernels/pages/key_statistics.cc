#include "gpu/kernels/pages/key_statistics.h"

#include <cstring>

#include "common/base/check.h"
#include "common/base/half.h"
#include "common/compress/arith/key_range.h"

namespace decant {
namespace {

float KeyAt(const uint8_t* key, int32_t channel, Element element) {
  if (element == Element::kBf16) {
    Bf16 half;
    std::memcpy(&half, key + 2 * channel, sizeof(half));
    return ToFloat(half);
  }
  float x;
  std::memcpy(&x, key + 4 * channel, sizeof(x));
  return x;
}

}  // namespace

void AddKeyToStatistics(const uint8_t* key, int32_t index, int32_t head_dim, Element element, uint8_t* entry) {
  DECANT_CHECK_MSG(IsFull(element), "element %d has no statistics", static_cast<int>(element));
  for (int32_t i = 0; i < head_dim; ++i) {
    const float x = KeyAt(key, i, element);
    uint8_t* const smallest = entry + 2 * i;
    uint8_t* const largest = entry + 2 * (head_dim + i);
    KeyEnds ends = EndsOf(x);
    if (index > 0) {
      std::memcpy(&ends.smallest, smallest, sizeof(Bf16));
      std::memcpy(&ends.largest, largest, sizeof(Bf16));
      ends = Widened(ends, x);
    }
    std::memcpy(smallest, &ends.smallest, sizeof(Bf16));
    std::memcpy(largest, &ends.largest, sizeof(Bf16));
  }
}

void WriteKeyStatistics(const uint8_t* keys, int32_t tokens, int32_t head_dim, Element element, uint8_t* statistics) {
  const int64_t vector_bytes = VectorBytes(element, head_dim);
  for (int32_t t = 0; t < tokens; ++t) {
    uint8_t* const entry = statistics + int64_t{t / kStatisticsBlock} * 4 * head_dim;
    AddKeyToStatistics(keys + t * vector_bytes, t % kStatisticsBlock, head_dim, element, entry);
  }
}

}  // namespace decant
