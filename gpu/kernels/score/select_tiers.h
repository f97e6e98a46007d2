#ifndef DECANT_GPU_KERNELS_SCORE_SELECT_TIERS_H_
#define DECANT_GPU_KERNELS_SCORE_SELECT_TIERS_H_

#include <cstdint>
#include <limits>

#include "common/compress/recipe.h"
#include "gpu/device/device.h"

namespace decant {

// As many tokens as there are.
inline constexpr int64_t kAllTokens = std::numeric_limits<int64_t>::max();

// Of one layer, or of all of a prompt's where an allocation compares tokens of different layers.
struct SelectTiersArgs {
  const float* scores = nullptr;  // [layers, kv_heads, tokens] of ScoreTokens
  const float* ranks = nullptr;   // likewise
  int32_t layers = 1;
  int32_t kv_heads = 0;
  int32_t tokens = 0;  // N
  Allocation allocation = Allocation::kAllHigh;
  // Of the thresholds.
  ScoreSource source = ScoreSource::kNone;
  int32_t first_query = 0;  // queries before it left no sums
  float alpha_high = 0;
  float alpha_low = 0;
  int32_t window = 64;
  // Of the rankings: so many are high, and so many high or low together; of every head, or of all layers and heads
  // (kGlobal, kGlobalTiers).
  int64_t high = 0;
  int64_t kept = 0;
  float* scratch = nullptr;  // [layers, kv_heads, tokens]; of the rankings
  int32_t chunk_tokens = 64;
  uint8_t* tiers = nullptr;   // [layers, kv_heads, tokens] out: 0 high, 1 low, 2 pruned
  int32_t* counts = nullptr;  // [layers, kv_heads, chunks, 3] out
};
// Gives every token its tier; one that did not go through the layer is pruned.
//
// Thresholds over the scores: DiffKV, paper section 4 (alpha / i over the mean of all later queries, i from 1) and
// zyqCSL/DiffKV csrc/cache_kernels.cu (alpha / N over the last-64 window). The newest `window` tokens and tokens with
// fewer observations than the window stay high; a tie stays in the better tier; thresholds above 1 are legal.
//
// Rankings over the ranks: the `kept` best stay, the `high` best of them high. Equal ranks go by their place, lower
// layer, head and position first. Those of rank +infinity are high whatever the numbers say. Equals
// common/compress/allocate: KeepBestOfRows and KeepExactPart.
void SelectTiers(Stream& stream, const SelectTiersArgs& args);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_SCORE_SELECT_TIERS_H_
