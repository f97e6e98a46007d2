// H2O (arXiv 2306.14048; FMInference/H2O real-drop, H2OKVCache_LayerWise): one head's online eviction, the scalar
// oracle. Keeps the tokens that received most attention so far and the most recent ones; what an evicted token had
// received is forgotten with it.
#ifndef DECANT_COMMON_COMPRESS_ALLOCATE_HEAVY_HITTERS_H_
#define DECANT_COMMON_COMPRESS_ALLOCATE_HEAVY_HITTERS_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace decant {

class HeavyHitters {
 public:
  // Keeps at most heavy + recent tokens. REQUIRES: neither is negative.
  HeavyHitters(int32_t heavy, int32_t recent) : heavy_(heavy), recent_(recent) {}

  // One forward pass over `columns`.size() - held() new tokens. columns: the attention that each held token, then each
  // new one, received from the new tokens, summed over those: column sums of the prompt, or one row of a decode step.
  // Then evicts. REQUIRES: at least held() columns.
  void Step(absl::Span<const float> columns);

  int32_t held() const { return static_cast<int32_t>(positions_.size()); }
  // Ascending, and what each of them received.
  const std::vector<int32_t>& positions() const { return positions_; }
  const std::vector<float>& sums() const { return sums_; }

 private:
  int32_t heavy_;
  int32_t recent_;
  int32_t next_position_ = 0;
  std::vector<int32_t> positions_;
  std::vector<float> sums_;
};

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_ALLOCATE_HEAVY_HITTERS_H_
