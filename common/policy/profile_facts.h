// What the choice of a profile needs to know of it on one model, wherever it comes from.
#ifndef DECANT_COMMON_POLICY_PROFILE_FACTS_H_
#define DECANT_COMMON_POLICY_PROFILE_FACTS_H_

#include <cstdint>
#include <optional>
#include <string>

#include "common/compress/profile.h"
#include "common/kv/geometry.h"
#include "common/policy/profile_table.h"

namespace decant {

// The part of a prompt that may come from the pool under a profile.
struct PrefixOffer {
  int64_t tokens = 0;           // 0 = none
  int64_t bytes = 0;            // fetched from the pool
  int64_t forwarded_bytes = 0;  // of these, sent on to decode as they are
  int64_t encoded_tokens = 0;   // loaded in full precision and encoded like computed ones
  double quality = 1;           // least of its chunks
};

struct ProfileFacts {
  std::string name;
  Digest digest;                  // of the profile, calibrated
  bool exact = false;             // holds the run type
  bool takes_prefix = true;       // not where prefill leaves tokens behind: it has to compute them all
  std::optional<double> quality;  // none: not measured on this model nor on a generic one
  std::string measured_on;        // the model of the table, when it is another than the request's
  double wire_ratio = 1;
  double resident_ratio = 1;
  double encode_bytes_per_s = 0;
  double tpot_ratio = 1;
  PrefixOffer offer;
};

// From the measured table where it knows the profile. Without it the ratios follow from the format of the profile's
// high tier, which is what a profile with thresholds reaches at least. Those of `full` always follow from the run type;
// the quality of profiles that lose nothing is 1 by definition, of a coded one once what the wire saves is measured. `table` may be null.
absl::StatusOr<ProfileFacts> FactsOf(const Profile& profile, const Geometry& geometry, RunType run_type,
                                     const Digest& model, const ProfileTable* table);

}  // namespace decant

#endif  // DECANT_COMMON_POLICY_PROFILE_FACTS_H_
