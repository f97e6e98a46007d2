// How near compressed KV stays to full precision, measured side by side.
#ifndef DECANT_SERVICES_CLI_FAITHFULNESS_H_
#define DECANT_SERVICES_CLI_FAITHFULNESS_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "common/compress/recipe.h"
#include "gpu/engine/loaded_model.h"

namespace decant {

// Means per prompt.
struct Faithfulness {
  double divergence = 0;  // KL(first recipe || this one) of the next token, nats, while both wrote the same answer
  double agreement = 0;   // share of the greedy answer before the first different token
  double resident_bytes = 0;
  double wire_bytes = 0;  // of frames and overlays
  double encode_seconds = 0;
  double step_seconds = 0;  // of the batch of all recipes
};

// Of prompts whose beginning came from the pool.
struct HitFaithfulness {
  double agreement = 0;       // as above
  double resident_bytes = 0;  // means per prompt
  double reused_tokens = 0;
  double prefix_wire_bytes = 0;  // of the reused tokens: frames, forwarded or encoded, and overlays
};

// Computes every prompt as seldom as the recipes allow (gpu/engine/recipe_passes.h), encodes it with every recipe, and
// lets all of them decode `answer_tokens` greedily in one batch; the first recipe, full precision as a rule, is what
// the others are compared with. `prompt_done` may be empty.
absl::StatusOr<std::vector<Faithfulness>> MeasureFaithfulness(const LoadedModel& model,
                                                              const std::vector<std::vector<int32_t>>& prompts,
                                                              const std::vector<Recipe>& recipes, int32_t answer_tokens,
                                                              const std::function<void()>& prompt_done);

// The same of one recipe when all that may be reused of every prompt (Recipe::least_computed) comes from frames of
// `stored`, a form that the recipe takes: compared with the cold answer of `full`. INVALID_ARGUMENT for a prompt that
// has no chunk to reuse.
absl::StatusOr<HitFaithfulness> MeasureHit(const LoadedModel& model, const std::vector<std::vector<int32_t>>& prompts,
                                           const Recipe& full, const Recipe& recipe, const Recipe& stored,
                                           int32_t answer_tokens);

}  // namespace decant

#endif  // DECANT_SERVICES_CLI_FAITHFULNESS_H_
