// Several recipes over one computation of a prompt: what measures profiles against each other needs.
#ifndef DECANT_GPU_ENGINE_RECIPE_PASSES_H_
#define DECANT_GPU_ENGINE_RECIPE_PASSES_H_

#include <cstddef>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "gpu/engine/layer_encoder.h"
#include "gpu/engine/recipe_schedule.h"

namespace decant {

// One computation of a prompt and the recipes that it serves.
struct RecipePass {
  struct Member {
    size_t recipe = 0;  // of those that PassesFor was asked about
    int32_t sums = 0;   // whose of the pass it reads: 0 the tap's own, i > 0 more_sums[i - 1]
  };

  RecipeSchedule made;  // with all that any member needs
  std::vector<Member> members;

  // A tap of the pass as the member's encoder is to see it.
  static LayerTap TapFor(const Member& member, const LayerTap& tap) {
    return member.sums == 0 ? tap : tap.WithSums(static_cast<size_t>(member.sums - 1));
  }
};

// As few passes as serve all recipes, nothing reused: recipes that score by other queries share one; a recipe that
// leaves tokens behind shares one with those that leave the same ones; replays in different wordings and groups of
// different sizes have their own. Errors are
// those of ScheduleFor.
absl::StatusOr<std::vector<RecipePass>> PassesFor(absl::Span<const Recipe> recipes, const ModelConfig& config,
                                                  const Tokenizer* tokenizer, absl::Span<const int32_t> prompt);

}  // namespace decant

#endif  // DECANT_GPU_ENGINE_RECIPE_PASSES_H_
