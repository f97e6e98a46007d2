// How the layers of a model share a budget so that each keeps the same part of its attention: PrefixKV's offline search
// (common/compress/allocate/prefix_profile.h).
#ifndef DECANT_GPU_ENGINE_LAYER_SHARES_H_
#define DECANT_GPU_ENGINE_LAYER_SHARES_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "common/compress/recipe.h"
#include "gpu/engine/weights.h"

namespace decant {

// [layers], mean 1: the mean over the prompts of what the search keeps of each layer at the recipe's budget, beside its
// sinks and window. Errors are those of PrefillRun; INVALID_ARGUMENT without a prompt.
absl::StatusOr<std::vector<double>> MeasureLayerShares(const Weights& weights, Stream& stream, const Recipe& recipe,
                                                       const std::vector<std::vector<int32_t>>& prompts);

}  // namespace decant

#endif  // DECANT_GPU_ENGINE_LAYER_SHARES_H_
