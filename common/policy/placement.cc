#include "common/policy/placement.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <string>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "common/base/digest.h"
#include "common/policy/choose_profile.h"
#include "common/policy/priors.h"

namespace decant {

double LinkRateOrPrior(const PairCandidate& pair) {
  if (std::isfinite(pair.link_bits_per_s) && pair.link_bits_per_s > 0) return pair.link_bits_per_s;
  switch (pair.link) {
    case LinkKind::kLoopback:
    case LinkKind::kSharedMemory:
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

void SortPairs(absl::string_view request_id, std::vector<PairMerit>& pairs) {
  struct Sorted {
    PairMerit merit;
    uint64_t lot = 0;
  };
  std::vector<Sorted> sorted;
  for (const PairMerit& merit : pairs) {
    const std::string lot = absl::StrCat(request_id, "\n", merit.pair->prefill, "\n", merit.pair->decode);
    sorted.push_back(Sorted{merit, Sha256(lot).Prefix64()});
  }
  const auto speed = [](const Sorted& s) { return std::make_tuple(s.merit.standing, s.merit.ttft_ms); };
  const auto burden = [](const Sorted& s) {
    const PairCandidate& pair = *s.merit.pair;
    return std::make_tuple(int64_t{pair.decode_load.waiting} + pair.decode_load.running, pair.prefill_queued_tokens,
                           -s.merit.quality, s.lot);
  };
  std::stable_sort(sorted.begin(), sorted.end(), [&](const Sorted& a, const Sorted& b) { return speed(a) < speed(b); });
  // The tolerance is measured from the quickest of each group, because a comparison with a tolerance between any two
  // would be no ordering.
  for (auto group = sorted.begin(); group != sorted.end();) {
    const int32_t standing = group->merit.standing;
    const double quick_ms = WithTolerance(group->merit.ttft_ms, group->merit.queue_ms);
    const auto end = std::find_if(std::next(group), sorted.end(), [&](const Sorted& s) {
      return s.merit.standing != standing || s.merit.ttft_ms > quick_ms;
    });
    std::stable_sort(group, end, [&](const Sorted& a, const Sorted& b) { return burden(a) < burden(b); });
    group = end;
  }
  for (size_t i = 0; i < pairs.size(); ++i) pairs[i] = sorted[i].merit;
}

std::vector<RankedPair> RankPairs(const PlacementNeed& need, absl::Span<const PairCandidate> pairs, int32_t limit) {
  std::vector<PairMerit> merits;
  for (size_t i = 0; i < pairs.size(); ++i) {
    const PairCandidate& pair = pairs[i];
    if (pair.prefill_load.draining || pair.decode_load.draining) continue;
    const double stated = pair.prefill_load.prefill_tokens_per_s;
    const double rate = std::isfinite(stated) && stated > 0 ? stated : kPriorPrefillTokensPerS;
    const double bits = 8.0 * static_cast<double>(need.prompt_tokens) * static_cast<double>(need.full_bytes_per_token);
    PairMerit merit;
    merit.pair = &pair;
    merit.index = i;
    merit.standing = pair.decode_load.waiting > 0 ? 1 : 0;
    merit.queue_ms = 1000 * static_cast<double>(std::max<int64_t>(0, pair.prefill_queued_tokens)) / rate;
    merit.ttft_ms = merit.queue_ms + 1000 * static_cast<double>(std::max<int64_t>(1, need.prompt_tokens)) / rate +
                    1000 * bits / LinkRateOrPrior(pair);
    merits.push_back(merit);
  }
  SortPairs(need.request_id, merits);
  merits.resize(std::min(merits.size(), static_cast<size_t>(std::max(0, limit))));
  std::vector<RankedPair> ranking;
  for (const PairMerit& merit : merits) ranking.push_back({static_cast<int32_t>(merit.index), merit.ttft_ms});
  return ranking;
}

}  // namespace decant
