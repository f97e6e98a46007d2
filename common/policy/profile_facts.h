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
  int64_t chunks = 0;
  bool exact = false;  // all of them
  double load_s = 0;   // until what of it lies in lower tiers is in the pool's memory
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
  int32_t least_computed = 1;  // Recipe
  // What the newest tokens are encoded as, kNone where that cannot be told before; and whether all tokens are and their
  // frames travel as they are: then the bytes of a frame follow from its tokens.
  FormatId high = FormatId::kNone;
  bool all_high = false;
  bool overlays = false;
  int32_t window = 0;    // the newest tokens, which stay high
  bool settles = false;  // decode sorts a prefix that came in the high format into tiers

  // Of a request whose prefix comes from the pool, as measured with the longest prefix there can be. A hit over exact
  // chunks is what a cold run is, unless tokens are chosen by sums that the prefix's own queries have no part in.
  bool exact_hit_is_cold = true;
  std::optional<double> hit_quality;  // none: not measured
  double hit_wire_ratio = 1;          // of exact chunks that are encoded
  double hit_resident_ratio = 1;
  PrefixOffer offer;
};

// Bytes of `tokens` tokens from a chunk's border on that are all in the high format, on the link: their frames of
// `chunk_tokens` each in every layer, and their overlays where the profile has such.
int64_t HighWireBytes(const ProfileFacts& facts, const Geometry& geometry, int32_t chunk_tokens, int64_t tokens);
// Of the overlays of `chunks` whole chunks alone, whose stored frames are forwarded.
int64_t OverlayWireBytes(const ProfileFacts& facts, const Geometry& geometry, int32_t chunk_tokens, int64_t chunks);

// From the measured table where it knows the profile. Without it the ratios follow from the format of the profile's
// high tier, which is what a profile with thresholds reaches at least. Those of `full` always follow from the run type;
// the quality of profiles that lose nothing is 1 by definition, of a coded one once what the wire saves is measured.
// `table` may be null.
absl::StatusOr<ProfileFacts> FactsOf(const Profile& profile, const Geometry& geometry, RunType run_type,
                                     const Digest& model, const ProfileTable* table);

}  // namespace decant

#endif  // DECANT_COMMON_POLICY_PROFILE_FACTS_H_
