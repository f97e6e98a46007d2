#ifndef DECANT_GPU_KERNELS_SCORE_SELECT_TIERS_H_
#define DECANT_GPU_KERNELS_SCORE_SELECT_TIERS_H_

#include <cstdint>

#include "common/compress/recipe.h"
#include "gpu/device/device.h"

namespace decant {

struct SelectTiersArgs {
  // Sums of attention received, per query head, over the queries from `first_query` on that saw the token, its own
  // query left out under kAllLaterQueries: [q_heads, stride]; null without a source. They are mergeable: tiles of
  // queries add up to the whole.
  const float* sums = nullptr;
  int64_t stride = 0;
  int32_t q_heads = 0;
  int32_t kv_heads = 0;
  int32_t tokens = 0;       // N
  int32_t first_query = 0;  // queries before it left no sums
  Allocation allocation = Allocation::kAllHigh;
  ScoreSource source = ScoreSource::kNone;
  float alpha_high = 0;
  float alpha_low = 0;
  int32_t window = 64;
  int32_t chunk_tokens = 64;
  float* scores = nullptr;    // [kv_heads, tokens] out: the group's maximum of the sums
  uint8_t* tiers = nullptr;   // [kv_heads, tokens] out: 0 high, 1 low, 2 pruned
  int32_t* counts = nullptr;  // [kv_heads, chunks, 3] out
};
// Collapses the sums over the query heads of a group (maximum) and gives every token its tier: DiffKV, paper section 4
// (alpha / i over the mean of all later queries, i from 1) and zyqCSL/DiffKV csrc/cache_kernels.cu (alpha / N over the
// last-64 window). The newest `window` tokens and tokens with fewer observations than the window stay high; a tie stays
// in the better tier; thresholds above 1 are legal.
void SelectTiers(Stream& stream, const SelectTiersArgs& args);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_SCORE_SELECT_TIERS_H_
