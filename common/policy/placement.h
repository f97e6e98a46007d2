// Which pair of workers a request should use: by load and by link.
//
// A pair's score is a rough time to first token with full precision: queued and own tokens over the worker's speed,
// then the bytes over the link. Where the prefix is does not tell pairs apart: every prefill worker loads it from the
// pool. That is enough to order pairs before anybody prices profiles, and to choose one when the pool is down.
#ifndef DECANT_COMMON_POLICY_PLACEMENT_H_
#define DECANT_COMMON_POLICY_PLACEMENT_H_

#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/policy/candidate.h"

namespace decant {

struct PlacementNeed {
  absl::string_view request_id;  // settles ties
  int64_t prompt_tokens = 0;
  int64_t max_tokens = 0;
  int64_t full_bytes_per_token = 0;  // Geometry::full_bytes_per_token()
};

struct RankedPair {
  int32_t candidate = 0;  // index into the span that was ranked
  double score_ms = 0;    // rough time to first token; lower is better
};

// The link's rate in bits per second: what was stated, else what such a link usually gives.
double LinkRateOrPrior(const PairCandidate& pair);

// One pair among those that SortPairs orders.
struct PairMerit {
  const PairCandidate* pair = nullptr;
  size_t index = 0;      // the caller's
  int32_t standing = 0;  // lower goes first, whatever else
  double ttft_ms = 0;    // predicted; must be a number
  double queue_ms = 0;   // of it, behind other requests
  double quality = 0;
};

// Best first. Learned rates are never quite the same, so pairs of one standing that are as quick as the quickest
// (WithTolerance) are equal; of those the one with the less loaded decode worker goes first, then the shorter prefill
// queue, then the higher quality. What is still equal is in the order of a hash over the request and both workers
// (rendezvous): the same for one request everywhere and in any order given, spread evenly over requests.
void SortPairs(absl::string_view request_id, std::vector<PairMerit>& pairs);

// Pairs with no draining worker, best first as SortPairs has it, at most `limit`. Pairs whose decode worker has
// requests waiting for pages come after all others. Empty when every pair is draining.
std::vector<RankedPair> RankPairs(const PlacementNeed& need, absl::Span<const PairCandidate> pairs, int32_t limit);

}  // namespace decant

#endif  // DECANT_COMMON_POLICY_PLACEMENT_H_
