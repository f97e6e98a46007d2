#include "common/compress/score/group_reduce.h"

#include <cstddef>

#include "common/base/check.h"

namespace decant {

void ReduceGroups(GroupReduction reduction, absl::Span<const float> scores, int32_t group, int32_t tokens,
                  absl::Span<float> out) {
  const auto row = static_cast<size_t>(tokens);
  const auto heads_per_group = static_cast<size_t>(group);
  DECANT_CHECK_MSG(
      group > 0 && tokens >= 0 && scores.size() == out.size() * heads_per_group && (row == 0 || out.size() % row == 0),
      "%zu scores to %zu, group %d of %d tokens", scores.size(), out.size(), group, tokens);
  for (size_t i = 0; i < out.size(); ++i) {
    const float* first = scores.data() + i / row * heads_per_group * row + i % row;
    float reduced = first[0];
    for (size_t h = 1; h < heads_per_group; ++h) {
      const float score = first[h * row];
      if (reduction == GroupReduction::kMax) {
        reduced = score > reduced ? score : reduced;
      } else {
        reduced += score;
      }
    }
    out[i] = reduction == GroupReduction::kMean ? reduced / static_cast<float>(group) : reduced;
  }
}

void MeanOverHeads(absl::Span<const float> sums, int32_t tokens, absl::Span<float> out) {
  const int32_t heads = tokens == 0 ? 1 : static_cast<int32_t>(sums.size() / static_cast<size_t>(tokens));
  ReduceGroups(GroupReduction::kMean, sums, heads, tokens, out);
}

}  // namespace decant
