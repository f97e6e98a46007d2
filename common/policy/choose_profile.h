// Which profile one request should use on one pair of workers, and what every alternative would have cost.
//
// The rule, in order:
//  1. Safe: only profiles whose measured quality meets the floor; with a prefix from the pool, that of a hit as well.
//  Floor 0 accepts what was measured, and anything that
//     is asked for by name; floor 1 means full precision. A named profile is the only one considered.
//  2. Reuse: for each profile the pool's prefix is taken unless recomputing is faster by more than the tolerance.
//  3. Room: a profile whose worst case fits into decode's free pages beats one that would have to wait.
//  4. Pace: one that keeps the stated time per output token beats one that does not.
//  5. Speed: of those, all that are quick enough are equal: within 5 % + 1 ms of the fastest (time in the queue aside),
//     or within the stated time to first token.
//  6. Among equals the highest quality wins; when the request would leave decode less than a quarter of its pages, the
//     smallest resident one does instead. Then the faster.
#ifndef DECANT_COMMON_POLICY_CHOOSE_PROFILE_H_
#define DECANT_COMMON_POLICY_CHOOSE_PROFILE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/kv/geometry.h"
#include "common/policy/candidate.h"
#include "common/policy/observations.h"
#include "common/policy/profile_facts.h"

namespace decant {

struct ProfileQuestion {
  Geometry geometry;
  int64_t prompt_tokens = 0;
  int64_t max_tokens = 0;
  double floor = 0;
  std::string named;   // profile; empty: choose
  double ttft_ms = 0;  // stated; 0 = none
  double tpot_ms = 0;
  double fetch_bits_per_s = 0;  // from the pool to prefill workers
  int32_t chunk_tokens = 64;
};

struct PricedAlternative {
  std::string profile;
  bool reuse = false;
  double predicted_ttft_ms = 0;
  double quality = 0;   // least of the profile's, cold and on a hit, and the prefix's; 0 when not measured
  std::string verdict;  // "chosen" or why not
};

struct ProfileChoice {
  std::string profile;
  Digest digest;  // the profile's
  std::string reason;
  double predicted_ttft_ms = 0;
  double queue_ms = 0;  // of it, behind other requests
  double quality = 0;
  int64_t wire_bytes = 0;                       // predicted
  int64_t reused_tokens = 0;                    // 0 = recompute
  bool has_room = true;                         // rule 3
  bool keeps_pace = true;                       // rule 4
  std::vector<PricedAlternative> alternatives;  // profiles in the order given, each with reuse first
};

// The longest time to first token that counts as equal to `ttft_ms`, of which `queue_ms` pass in the queue: rule 5.
double WithTolerance(double ttft_ms, double queue_ms);

// INVALID_ARGUMENT for a floor outside [0, 1] or a named profile that does not meet it or is not among `profiles`;
// FAILED_PRECONDITION when none of `profiles` meets the floor. Both say the values. Does not depend on the pair.
absl::Status CheckFloor(const ProfileQuestion& question, absl::Span<const ProfileFacts> profiles);

// Errors as CheckFloor.
absl::StatusOr<ProfileChoice> ChooseProfile(const ProfileQuestion& question, absl::Span<const ProfileFacts> profiles,
                                            const PairCandidate& pair, const Observations& seen);

}  // namespace decant

#endif  // DECANT_COMMON_POLICY_CHOOSE_PROFILE_H_
