// The prompts of a replay pass: the model is asked to repeat its context, chunk by chunk.
#ifndef DECANT_GPU_ENGINE_REPEAT_PROMPTS_H_
#define DECANT_GPU_ENGINE_REPEAT_PROMPTS_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace decant {

// One repeat prompt and the positions of the prompt that it repeats, which get scores.
struct ReplayChunk {
  std::vector<int32_t> tokens;
  int32_t begin = 0;
  int32_t end = 0;
};

// Token ids around the chunks; the wording is a hyper-parameter and belongs to the profile.
struct RepeatWording {
  std::vector<int32_t> first;  // asks to repeat the context
  std::vector<int32_t> later;  // asks to repeat the part that begins with the tokens that follow
  std::vector<int32_t> reply;  // opens the model's turn
  int32_t chunk_tokens = 2000;
  int32_t overlap = 8;  // of the previous chunk's last tokens, quoted in `later`
};

// Chunks of the context, positions [begin, end) of the prompt, the last one short (snu-mllab/KVzip model/wrapper.py):
// first + reply + chunk, then later + quote + reply + chunk. Empty for an empty context. chunk_tokens > 0.
std::vector<ReplayChunk> RepeatPrompts(absl::Span<const int32_t> prompt, int32_t begin, int32_t end,
                                       const RepeatWording& wording);

}  // namespace decant

#endif  // DECANT_GPU_ENGINE_REPEAT_PROMPTS_H_
