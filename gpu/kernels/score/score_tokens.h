#ifndef DECANT_GPU_KERNELS_SCORE_SCORE_TOKENS_H_
#define DECANT_GPU_KERNELS_SCORE_SCORE_TOKENS_H_

#include <cstdint>

#include "common/compress/recipe.h"
#include "gpu/device/device.h"

namespace decant {

struct ScoreTokensArgs {
  ScoreSource source = ScoreSource::kNone;
  GroupReduce reduce = GroupReduce::kMax;
  Pooling pooling = Pooling::kNone;
  int32_t pool_width = 1;  // odd
  int32_t sinks = 0;       // the prompt's first tokens that are kept anyway
  int32_t window = 0;      // its last ones
  // Sums of attention received, per query head: [q_heads, stride]. They are mergeable: tiles of queries add up to the
  // whole. Null for a source without queries.
  const float* sums = nullptr;
  int64_t stride = 0;
  const float* replay = nullptr;  // of kReplay: [kv_heads, rows]; null: nothing was repeated
  int32_t q_heads = 0;
  int32_t kv_heads = 0;
  int32_t rows = 0;                    // that went through the layer
  const int32_t* positions = nullptr;  // [rows] in the prompt, ascending; null: row i is position i
  int32_t tokens = 0;                  // N, of the prompt
  float* scores = nullptr;             // [kv_heads, tokens] out
  float* ranks = nullptr;              // [kv_heads, tokens] out
};
// `scores`: the sums, or the replay's maxima, of a group's query heads as one: what online policies go on with. 0 where
// there are none.
//
// `ranks`: by what tokens are chosen; higher stays. The scores, pooled along the layer's rows after the group became
// one (Zefan-Cai/KVCache-Factory, kv_head mode), sinks and window taking no part; positions of kPosition. Sinks and
// window rank at +infinity, tokens that did not go through the layer at -infinity, what is not a number below all
// others.
//
// Equals common/compress/score: ReduceGroups, then PoolScores of what lies between sinks and window.
void ScoreTokens(Stream& stream, const ScoreTokensArgs& args);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_SCORE_SCORE_TOKENS_H_
