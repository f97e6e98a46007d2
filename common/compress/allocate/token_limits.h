// What a head may hold while an online policy keeps it to a limit (arith/online_evict.h): plain numbers for row tables
// and page promises.
#ifndef DECANT_COMMON_COMPRESS_ALLOCATE_TOKEN_LIMITS_H_
#define DECANT_COMMON_COMPRESS_ALLOCATE_TOKEN_LIMITS_H_

#include <cstdint>
#include <vector>

#include "common/compress/recipe.h"

namespace decant {

// Empty for recipes whose policy has no limit.
struct TokenLimits {
  // [layers] what SequenceRows::layer_limits points at. The limit is made from the prompt and stays while decoding, as
  // in H2O: what the prompt leaves a head, never less than sinks and window, and the newest token.
  std::vector<int32_t> limits;
  std::vector<int32_t> kept;  // [layers] tokens of the prompt in the high tier of each head, at most
  std::vector<float> shares;  // [layers] of kKeepShare: `kept` as a share of the prompt
  bool drops = false;         // tokens beyond the limit leave; else they go to the low tier

  // The most tokens that a head of `layer` holds when `total` have been seen.
  int64_t Most(int32_t layer, int64_t total) const;
};

// REQUIRES: layers > 0, prompt_tokens > 0.
TokenLimits TokenLimitsOf(const Recipe& recipe, int32_t layers, int32_t prompt_tokens);

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_ALLOCATE_TOKEN_LIMITS_H_
