// StreamingLLM (arXiv 2309.17453; mit-han-lab/streaming-llm kv_cache.py): the first tokens and the last ones.
#ifndef DECANT_COMMON_COMPRESS_ALLOCATE_STREAMING_H_
#define DECANT_COMMON_COMPRESS_ALLOCATE_STREAMING_H_

#include <algorithm>
#include <cstdint>

namespace decant {

struct StreamingBudget {
  int32_t start = 4;
  int32_t recent = 512;
};

// What is kept: [0, first) and [second, length); contiguous when first == second. Once `coming` more tokens are
// appended no more than start + recent are held, unless `coming` alone exceeds recent.
//
// A faithful port rotates a key by its place in what is kept, not by its position: token t of the second run stands at
// t - (second - first). arith/rope_shift.h moves keys that were rotated by position.
struct StreamingRuns {
  int32_t first = 0;
  int32_t second = 0;
};

inline StreamingRuns StreamingKeep(const StreamingBudget& budget, int32_t length, int32_t coming) {
  if (length + coming <= budget.start + budget.recent) return {length, length};
  const int32_t first = std::min(budget.start, length);
  return {first, std::clamp(length - budget.recent + coming, first, length)};
}

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_ALLOCATE_STREAMING_H_
