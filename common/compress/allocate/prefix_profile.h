// PrefixKV (arXiv 2412.03409; THU-MIG/PrefixKV prefixkv.py): an offline search gives each layer the part of tokens that
// it may forget, so that every layer keeps the same share of its attention mass. "Prefix" is the top of the ranking,
// not of the prompt.
#ifndef DECANT_COMMON_COMPRESS_ALLOCATE_PREFIX_PROFILE_H_
#define DECANT_COMMON_COMPRESS_ALLOCATE_PREFIX_PROFILE_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace decant {

struct PrefixSearch {
  double removed = 0.5;  // part of all layers' tokens to forget
  int32_t start = 4;     // sinks, kept besides
  int32_t protect = 1;   // last tokens, kept besides
  // The released search has no limit and never ends where a tie jumps over the tolerance; after 60 halvings of [0, 1]
  // the interval is below what a double resolves.
  int32_t most_steps = 60;
};

struct PrefixProfile {
  std::vector<double> forget;  // per layer, part of the tokens
  double mass = 0;             // the share of attention mass at which the search ended
  int32_t steps = 0;
  bool within_tolerance = false;  // fewer than 5 tokens off, before the layers are scaled to the total
};

// Tokens that a layer keeps to hold `mass` of its scores: one more than the first place where the running sum of the
// sorted scores, over their total, reaches `mass`; at most all.
int32_t PrefixLength(absl::Span<const float> scores, double mass);

// One sample's profile. scores: [layers, tokens], head-mean column sums (score/group_reduce.h). Forgotten tokens are
// scaled to the total wanted and cut to whole ones, so a profile forgets slightly less than `removed`; no layer forgets
// its sinks and last tokens. Samples are averaged layer by layer by the caller. REQUIRES: tokens > 0 and a whole number
// of layers.
PrefixProfile SearchPrefixProfile(const PrefixSearch& search, absl::Span<const float> scores, int32_t tokens);

// At run time: tokens of a layer to forget, round(forget * tokens) with ties to even.
int32_t PrefixForget(double forget, int32_t tokens);

// Marks what one layer keeps, the same for all its heads: everything but the `forget` lowest scores in [start, tokens -
// protect), ties to the lower position. Returns how many.
int32_t KeepPrefix(const PrefixSearch& search, absl::Span<const float> scores, int32_t forget,
                   absl::Span<uint8_t> kept);

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_ALLOCATE_PREFIX_PROFILE_H_
