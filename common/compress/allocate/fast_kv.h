// FastKV's lengths (arXiv 2502.01068; dongwonjo/FastKV baselines/fastkv/utils.py): how many tokens' hidden states go on
// beyond the selection layer, and how many keys each layer keeps.
#ifndef DECANT_COMMON_COMPRESS_ALLOCATE_FAST_KV_H_
#define DECANT_COMMON_COMPRESS_ALLOCATE_FAST_KV_H_

#include <algorithm>
#include <cstdint>

namespace decant {

struct FastKvBudget {
  int32_t window = 8;
  bool proportional = false;
  // Constant mode.
  int32_t cap = 512;          // tokens kept per layer, window included
  int32_t propagated = 2048;  // tokens that go on
  // Proportional mode: parts of the prompt.
  double retain = 0.1;
  double propagate = 0.2;
};

struct FastKvLengths {
  int32_t lower = 0;       // kept of the prompt in every layer up to the selection layer, window included
  int32_t propagated = 0;  // tokens that go on, window included; the prompt's length = no selection
  int32_t upper = 0;       // kept of those in every layer above
};

// All tokens while the prompt is shorter than cap (constant mode). The window is always kept: where the released code
// asks for a top-k of nothing or less (proportional mode with int(N * retain) <= window) the window alone remains.
// Nothing exceeds what there is. Tokens go on only when there are more than `propagated`.
inline FastKvLengths FastKvLengthsOf(const FastKvBudget& budget, int32_t tokens) {
  const int32_t least = std::min(budget.window, tokens);
  FastKvLengths lengths;
  if (!budget.proportional) {
    if (tokens < budget.cap) return {tokens, tokens, tokens};
    lengths.lower = std::clamp(budget.cap, least, tokens);
    lengths.propagated = std::clamp(budget.propagated, least, tokens);
    lengths.upper = std::clamp(budget.cap, least, lengths.propagated);
    return lengths;
  }
  const auto part = [&](double kept, int32_t of) {
    return kept >= of ? of : std::max(kept > 0 ? static_cast<int32_t>(kept) : 0, std::min(least, of));
  };
  lengths.lower = part(tokens * budget.retain, tokens);
  lengths.propagated = part(tokens * budget.propagate, tokens);
  lengths.upper = part(lengths.propagated * budget.retain / budget.propagate, lengths.propagated);
  return lengths;
}

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_ALLOCATE_FAST_KV_H_
