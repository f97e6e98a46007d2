#include "common/policy/placement.h"

#include <algorithm>
#include <cmath>

#include "common/policy/priors.h"

namespace decant {

double LinkRateOrPrior(const PairCandidate& pair) {
  if (std::isfinite(pair.link_bits_per_s) && pair.link_bits_per_s > 0) return pair.link_bits_per_s;
  switch (pair.link) {
    case LinkKind::kLoopback:
      return 40e9;
    case LinkKind::kNccl:
      return 100e9;
    case LinkKind::kCudaIpc:
      return 400e9;
    case LinkKind::kGrpc:
    case LinkKind::kUnspecified:
      break;
  }
  return 10e9;
}

std::vector<RankedPair> RankPairs(const PlacementNeed& need, absl::Span<const PairCandidate> pairs, int32_t limit) {
  const auto waits = [&](const RankedPair& ranked) {
    return pairs[static_cast<size_t>(ranked.candidate)].decode_load.waiting > 0;
  };
  std::vector<RankedPair> ranking;
  for (size_t i = 0; i < pairs.size(); ++i) {
    const PairCandidate& pair = pairs[i];
    if (pair.prefill_load.draining || pair.decode_load.draining) continue;
    const double stated = pair.prefill_load.prefill_tokens_per_s;
    const double rate = std::isfinite(stated) && stated > 0 ? stated : kPriorPrefillTokensPerS;
    const int64_t own = std::max<int64_t>(1, need.prompt_tokens);
    const double compute_s = static_cast<double>(std::max<int64_t>(0, pair.prefill_queued_tokens) + own) / rate;
    const double bits = 8.0 * static_cast<double>(need.prompt_tokens) * static_cast<double>(need.full_bytes_per_token);
    ranking.push_back(RankedPair{static_cast<int32_t>(i), 1000 * (compute_s + bits / LinkRateOrPrior(pair))});
  }
  // Of two decode workers that are equally near, the one with more room: its batch is shorter.
  const auto load = [&](const RankedPair& ranked) {
    return pairs[static_cast<size_t>(ranked.candidate)].decode_load.running;
  };
  std::stable_sort(ranking.begin(), ranking.end(), [&](const RankedPair& a, const RankedPair& b) {
    if (waits(a) != waits(b)) return waits(b);
    if (a.score_ms != b.score_ms) return a.score_ms < b.score_ms;
    return load(a) < load(b);
  });
  if (static_cast<size_t>(std::max(0, limit)) < ranking.size()) ranking.resize(static_cast<size_t>(std::max(0, limit)));
  return ranking;
}

}  // namespace decant
