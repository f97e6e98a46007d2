#include "gpu/engine/repeat_prompts.h"

#include <algorithm>

#include "common/base/check.h"

namespace decant {

std::vector<ReplayChunk> RepeatPrompts(absl::Span<const int32_t> prompt, int32_t begin, int32_t end,
                                       const RepeatWording& wording) {
  DECANT_CHECK_MSG(0 <= begin && end <= static_cast<int32_t>(prompt.size()) && wording.chunk_tokens > 0,
                   "context from %d to %d of %d tokens in chunks of %d", begin, end,
                   static_cast<int32_t>(prompt.size()), wording.chunk_tokens);
  std::vector<ReplayChunk> chunks;
  for (int32_t first = begin; first < end; first += wording.chunk_tokens) {
    ReplayChunk chunk;
    chunk.begin = first;
    chunk.end = std::min(end, first + wording.chunk_tokens);
    const auto add = [&chunk](const auto from, const auto to) { chunk.tokens.insert(chunk.tokens.end(), from, to); };
    const std::vector<int32_t>& ask = first == begin ? wording.first : wording.later;
    add(ask.begin(), ask.end());
    if (first > begin) add(prompt.begin() + std::max(begin, first - wording.overlap), prompt.begin() + first);
    add(wording.reply.begin(), wording.reply.end());
    add(prompt.begin() + chunk.begin, prompt.begin() + chunk.end);
    chunks.push_back(std::move(chunk));
  }
  return chunks;
}

}  // namespace decant
