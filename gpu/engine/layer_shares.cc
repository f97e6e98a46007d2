#include "gpu/engine/layer_shares.h"

#include <numeric>

#include "common/base/status_macros.h"
#include "common/compress/allocate/prefix_profile.h"
#include "common/compress/score/group_reduce.h"
#include "gpu/engine/prefill_run.h"

namespace decant {
namespace {

// Head means of the attention that every token received, [layers, tokens].
absl::StatusOr<std::vector<float>> HeadMeans(const Weights& weights, Stream& stream,
                                             const std::vector<int32_t>& prompt) {
  PrefillOptions options;
  options.score = ScoreSource::kAllQueries;
  DECANT_ASSIGN_OR_RETURN(const auto run, PrefillRun::Create(weights, stream, prompt, options));
  const size_t tokens = prompt.size();
  const auto heads = static_cast<size_t>(weights.config().q_heads);
  std::vector<float> means(tokens * static_cast<size_t>(run->layers()));
  std::vector<float> sums(tokens * heads);
  for (int32_t layer = 0; layer < run->layers(); ++layer) {
    DECANT_ASSIGN_OR_RETURN(const LayerTap tap, run->ComputeLayer(layer));
    for (size_t head = 0; head < heads; ++head) {
      stream.Copy(sums.data() + head * tokens, tap.sums + static_cast<int64_t>(head) * tap.sum_stride,
                  static_cast<int64_t>(tokens * sizeof(float)));
    }
    DECANT_RETURN_IF_ERROR(stream.Synchronize());
    MeanOverHeads(sums, static_cast<int32_t>(tokens),
                  absl::MakeSpan(means).subspan(static_cast<size_t>(layer) * tokens, tokens));
  }
  return means;
}

}  // namespace

absl::StatusOr<std::vector<double>> MeasureLayerShares(const Weights& weights, Stream& stream, const Recipe& recipe,
                                                       const std::vector<std::vector<int32_t>>& prompts) {
  if (prompts.empty()) return absl::InvalidArgumentError("no prompts to measure layers on");
  PrefixSearch search;
  search.removed = 1 - static_cast<double>(recipe.budget);
  search.start = recipe.sinks;
  search.protect = recipe.window;
  std::vector<double> kept(static_cast<size_t>(weights.config().layers), 0.0);
  for (const std::vector<int32_t>& prompt : prompts) {
    DECANT_ASSIGN_OR_RETURN(const std::vector<float> means, HeadMeans(weights, stream, prompt));
    const PrefixProfile profile = SearchPrefixProfile(search, means, static_cast<int32_t>(prompt.size()));
    for (size_t l = 0; l < kept.size(); ++l) kept[l] += 1 - profile.forget[l];
  }
  const double mean = std::accumulate(kept.begin(), kept.end(), 0.0) / static_cast<double>(kept.size());
  for (double& share : kept) share = mean > 0 ? share / mean : 1;
  return kept;
}

}  // namespace decant
