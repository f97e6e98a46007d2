#include "gpu/kernels/score/select_tiers_host.h"

#include <algorithm>
#include <functional>

#include "common/compress/arith/prompt_tier.h"

namespace decant {
namespace {

// The score stays where it was measured, at its token's index; the released kernel indexed it by rank (defect D1).
void CollapseGroup(const SelectTiersArgs& args, int64_t head, float* scores) {
  if (args.sums == nullptr) {
    std::fill_n(scores, args.tokens, 0.0f);
    return;
  }
  const int32_t group = args.q_heads / args.kv_heads;
  const float* first = args.sums + head * group * args.stride;
  std::copy_n(first, args.tokens, scores);
  for (int32_t g = 1; g < group; ++g) {
    const float* sums = first + g * args.stride;
    for (int32_t t = 0; t < args.tokens; ++t) scores[t] = std::max(scores[t], sums[t]);
  }
}

void SelectHead(const SelectTiersArgs& args, int64_t head) {
  PromptPolicy policy;
  policy.allocation = args.allocation;
  policy.source = args.source;
  policy.alpha_high = args.alpha_high;
  policy.alpha_low = args.alpha_low;
  policy.window = args.window;
  policy.tokens = args.tokens;
  policy.first_query = args.first_query;
  float* scores = args.scores + head * args.tokens;
  CollapseGroup(args, head, scores);
  const int32_t chunks = (args.tokens + args.chunk_tokens - 1) / args.chunk_tokens;
  uint8_t* tiers = args.tiers + head * args.tokens;
  int32_t* counts = args.counts + head * chunks * 3;
  std::fill_n(counts, int64_t{chunks} * 3, 0);
  for (int32_t t = 0; t < args.tokens; ++t) {
    tiers[t] = static_cast<uint8_t>(ChoosePromptTier(policy, t, scores[t]));
    ++counts[t / args.chunk_tokens * 3 + tiers[t]];
  }
}

}  // namespace

void SelectTiersHost(Stream& stream, const SelectTiersArgs& args) {
  const HostAccess access(stream);
  const auto select = [&args](int64_t head, int) { SelectHead(args, head); };
  stream.device().ParallelFor(args.kv_heads, std::cref(select));
}

}  // namespace decant
