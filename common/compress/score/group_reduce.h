// One score per key-value head from those of its query heads. SnapKV and PyramidKV take the mean (NVIDIA/kvpress,
// Zefan-Cai/KVCache-Factory), FastKV the sum (dongwonjo/FastKV), KVzip and DiffKV the maximum.
#ifndef DECANT_COMMON_COMPRESS_SCORE_GROUP_REDUCE_H_
#define DECANT_COMMON_COMPRESS_SCORE_GROUP_REDUCE_H_

#include <cstdint>

#include "absl/types/span.h"

namespace decant {

enum class GroupReduction : uint8_t { kMean = 0, kMax = 1, kSum = 2 };

// scores: [kv_heads * group, tokens] -> out: [kv_heads, tokens], row-major. Heads are added in ascending order.
// REQUIRES: the sizes fit.
void ReduceGroups(GroupReduction reduction, absl::Span<const float> scores, int32_t group, int32_t tokens,
                  absl::Span<float> out);

// PrefixKV (THU-MIG/PrefixKV prefixkv.py): S[k] = sum_q mean_h A[h,q,k]. sums: [heads, tokens], each head's column sums
// over the queries -> out: [tokens].
void MeanOverHeads(absl::Span<const float> sums, int32_t tokens, absl::Span<float> out);

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_SCORE_GROUP_REDUCE_H_
