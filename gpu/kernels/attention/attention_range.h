// The vector part of decode attention: a range of the tokens of one kv head, on one thread.
#ifndef DECANT_GPU_KERNELS_ATTENTION_ATTENTION_RANGE_H_
#define DECANT_GPU_KERNELS_ATTENTION_ATTENTION_RANGE_H_

#include <cstdint>

#include "common/kv/rows.h"

namespace decant {

// Tokens [begin, end) of a head, counted over its fixed run, its high tier and its low tier in this order; those of a
// split row by position.
struct AttentionRange {
  const PageArena* arena = nullptr;
  const SequenceRows* rows = nullptr;
  const HeadState* head = nullptr;
  const int32_t* page_ids = nullptr;  // [capacity], of this head
  int64_t begin = 0;
  int64_t end = 0;
  // Of the high tier, ascending: the range counts over the tokens of these blocks instead; null: over all tokens.
  const int32_t* blocks = nullptr;
  const float* q = nullptr;        // [group, head_dim]
  const float* balance = nullptr;  // [head_dim], of balanced keys
  const float* angles = nullptr;   // [positions, head_dim], of keys before rope
  int32_t group = 0;
  float scale = 0;
  float* weights = nullptr;  // [group, weights_stride]: place of token `begin`
  int64_t weights_stride = 0;
  float* out = nullptr;  // [group, head_dim]
  float* max = nullptr;  // [group]
  float* sum = nullptr;  // [group]
};

// Leaves exp(logit - max) of every token in `weights`, the largest logit in `max` (-infinity for an empty range), the
// sum of the weights in `sum` and the sum of weight x value in `out`.
void AttendRange(const AttentionRange& range);

// Adds to the score of every tracked token of the range the maximum over the group of weight x factor, or the mean
// where the row's policy wants that (common/compress/arith/score_policy.h); factors is [group].
void AddScores(const AttentionRange& range, const float* factors);

}  // namespace decant

#endif  // DECANT_GPU_KERNELS_ATTENTION_ATTENTION_RANGE_H_
