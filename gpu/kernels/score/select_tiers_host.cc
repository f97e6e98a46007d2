#include "gpu/kernels/score/select_tiers_host.h"

#include <algorithm>
#include <functional>
#include <limits>

#include "common/compress/arith/prompt_tier.h"

namespace decant {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr auto kPrunedTier = static_cast<uint8_t>(PromptTier::kPruned);

bool IsGlobal(Allocation allocation) {
  return allocation == Allocation::kGlobal || allocation == Allocation::kGlobalTiers;
}

bool IsRanking(Allocation allocation) {
  return allocation >= Allocation::kTop && allocation != Allocation::kWindowSplit;
}

// Puts the `count` best of `size` ranks into `tier`: all above the rank of the last of them, and of those equal to it
// the first ones.
void TakeBest(const float* ranks, int64_t size, int64_t count, PromptTier tier, float* scratch, uint8_t* tiers) {
  const int64_t least = std::count(ranks, ranks + size, kInfinity);
  const int64_t most = size - std::count(ranks, ranks + size, -kInfinity);
  const int64_t taken = std::min(std::max(count, least), most);
  if (taken == 0) return;
  std::copy_n(ranks, size, scratch);
  std::nth_element(scratch, scratch + (taken - 1), scratch + size, std::greater<float>());
  const float last = scratch[taken - 1];
  int64_t equal = taken - std::count_if(ranks, ranks + size, [last](float rank) { return rank > last; });
  for (int64_t i = 0; i < size; ++i) {
    if (ranks[i] < last || (ranks[i] == last && equal-- <= 0)) continue;
    tiers[i] = static_cast<uint8_t>(tier);
  }
}

void Rank(const SelectTiersArgs& args, int64_t first, int64_t size) {
  uint8_t* const tiers = args.tiers + first;
  std::fill_n(tiers, size, kPrunedTier);
  if (args.kept > args.high) {
    TakeBest(args.ranks + first, size, args.kept, PromptTier::kLow, args.scratch + first, tiers);
  }
  TakeBest(args.ranks + first, size, args.high, PromptTier::kHigh, args.scratch + first, tiers);
}

void Threshold(const SelectTiersArgs& args, int64_t first) {
  PromptPolicy policy;
  policy.allocation = args.allocation;
  policy.source = args.source;
  policy.alpha_high = args.alpha_high;
  policy.alpha_low = args.alpha_low;
  policy.window = args.window;
  policy.tokens = args.tokens;
  policy.first_query = args.first_query;
  for (int32_t t = 0; t < args.tokens; ++t) {
    const bool absent = args.ranks[first + t] == -kInfinity;
    args.tiers[first + t] =
        absent ? kPrunedTier : static_cast<uint8_t>(ChoosePromptTier(policy, t, args.scores[first + t]));
  }
}

void Count(const SelectTiersArgs& args, int64_t row) {
  const int32_t chunks = (args.tokens + args.chunk_tokens - 1) / args.chunk_tokens;
  int32_t* const counts = args.counts + row * chunks * 3;
  const uint8_t* const tiers = args.tiers + row * args.tokens;
  std::fill_n(counts, int64_t{chunks} * 3, 0);
  for (int32_t t = 0; t < args.tokens; ++t) ++counts[t / args.chunk_tokens * 3 + tiers[t]];
}

}  // namespace

void SelectTiersHost(Stream& stream, const SelectTiersArgs& args) {
  const HostAccess access(stream);
  const int64_t rows = int64_t{args.layers} * args.kv_heads;
  const bool global = IsGlobal(args.allocation);
  if (global) Rank(args, 0, rows * args.tokens);
  const auto select = [&args, global](int64_t row, int) {
    if (!global && IsRanking(args.allocation)) Rank(args, row * args.tokens, args.tokens);
    if (!IsRanking(args.allocation)) Threshold(args, row * args.tokens);
    Count(args, row);
  };
  stream.device().ParallelFor(rows, std::cref(select));
}

}  // namespace decant
