// The measured quality and cost of each profile on one model: committed files, written by measuring, never by hand.
//
// common/policy/tables/*.json are compiled in; `decant calibrate --table` writes them:
//   {"format": "decant profile table v1",
//    "model": "decant-tiny",                    name of the model it was measured on, for people
//    "fingerprint": "4f8e...",                  of that model (ModelFolder), 64 hexadecimal digits
//    "measured": {"command": ..., "machine": ..., "commit": ..., "date": ...},    all four, texts
//    "profiles": [
//      {"name": "k8v4",
//       "quality": 0.98,                        in [0, 1]: how much of full precision's task result remains
//       "wire_ratio": 3.1,                      kv_bytes_full / kv_bytes_wire of a cold long prompt
//       "resident_ratio": 2.9,                  kv_bytes_full / kv_bytes_resident
//       "encode_bytes_per_s": 1.2e9,            full-precision bytes that prefill selects and encodes per second
//       "tpot_ratio": 0.9,                      time per output token over that of `full`
//       "hit": {                                may be missing: not measured. All but the least that has to be computed
//         "quality": 0.97,                      comes from the pool: the less of two, over exact chunks and over chunks
//         "wire_ratio": 2.3,                    of the shareable form; the ratio of the wire over exact ones, which are
//         "resident_ratio": 2.8}},              encoded
//      ...]}
// `full` must be among them, with quality 1. A table serves the model of its fingerprint, whatever that is called:
// other weights under the same name are another model. The table in generic.json serves every model that has none of
// its own; what it gives is marked with the model it was measured on.
#ifndef DECANT_COMMON_POLICY_PROFILE_TABLE_H_
#define DECANT_COMMON_POLICY_PROFILE_TABLE_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/digest.h"

namespace decant {

struct HitCost {
  double quality = 0;
  double wire_ratio = 1;
  double resident_ratio = 1;
};

struct ProfileCost {
  std::string name;
  double quality = 0;
  double wire_ratio = 1;
  double resident_ratio = 1;
  double encode_bytes_per_s = 0;
  double tpot_ratio = 1;
  std::optional<HitCost> hit;
};

struct ProfileTable {
  std::string model;     // it was measured on; for people
  Digest fingerprint;    // of that model
  std::string measured;  // "command; machine; commit; date"
  std::vector<ProfileCost> profiles;

  const ProfileCost* Find(absl::string_view profile) const;  // null when it was not measured
};

// INVALID_ARGUMENT with the field and its value.
absl::StatusOr<ProfileTable> ParseProfileTable(absl::string_view json);

class ProfileTables {
 public:
  // The tables compiled in; there may be none.
  static absl::StatusOr<ProfileTables> BuiltIn();

  // ALREADY_EXISTS for a second table of a model, or a second generic one.
  absl::Status Add(ProfileTable table);
  void Replace(ProfileTable table);  // the one of its model, if there was one
  absl::Status AddGeneric(ProfileTable table);
  // The model's own table, else the generic one, else null. Valid until the next change.
  const ProfileTable* For(const Digest& model) const;

 private:
  std::vector<ProfileTable> tables_;
  std::vector<ProfileTable> generic_;  // at most one
};

}  // namespace decant

#endif  // DECANT_COMMON_POLICY_PROFILE_TABLE_H_
