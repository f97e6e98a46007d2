// What a recipe asks of a prompt's computation.
#ifndef DECANT_GPU_ENGINE_RECIPE_SCHEDULE_H_
#define DECANT_GPU_ENGINE_RECIPE_SCHEDULE_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/compress/recipe.h"
#include "common/model/config.h"
#include "common/model/tokenizer.h"
#include "gpu/engine/prompt_schedule.h"

namespace decant {

struct RecipeSchedule {
  PromptSchedule schedule;
  PrefillOptions options;  // with what the schedule needs
};

// The schedule and options of one prompt whose first `reused` tokens come from frames. Of a replay the context is what
// lies between the recipe's sinks and window, in chunks that the model has positions for; nothing is replayed where
// that is empty. `tokenizer` may be null for recipes without a replay. INVALID_ARGUMENT for a propagation with reused
// tokens, whose hidden states nobody has, and for a prompt that leaves no position to repeat it at.
absl::StatusOr<RecipeSchedule> ScheduleFor(const Recipe& recipe, const ModelConfig& config, const Tokenizer* tokenizer,
                                           absl::Span<const int32_t> prompt, int32_t reused);

}  // namespace decant

#endif  // DECANT_GPU_ENGINE_RECIPE_SCHEDULE_H_
