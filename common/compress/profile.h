// A profile is JSON in common/compress/catalogue, named, versioned and digestible; Compile turns it into a recipe.
#ifndef DECANT_COMMON_COMPRESS_PROFILE_H_
#define DECANT_COMMON_COMPRESS_PROFILE_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/digest.h"
#include "common/compress/recipe.h"
#include "common/kv/geometry.h"

namespace decant {

enum class RunType : uint8_t { kF32 = 1, kBf16 = 2 };

struct Profile {
  std::string name;
  int32_t version = 1;
  std::string score = "none";         // none | all_later_queries | last_window
  std::string allocate = "all_high";  // all_high | threshold_by_position | threshold_by_length
  std::string online = "none";        // none | diffkv_paper | diffkv_code
  std::string high;                   // full | k8v4 | k4v2
  std::string low;                    // empty, or a format smaller than high
  double alpha_high = 0;
  double alpha_low = 0;
  int32_t window = 64;
  std::string shareable;  // profile name; empty = itself
  Digest digest;          // of the canonical bytes; filled in by ParseProfile
};

// INVALID_ARGUMENT with the field and its value.
absl::StatusOr<Profile> ParseProfile(absl::string_view json);

// What was measured for one model: by profile name the two alphas that replace the profile's own. The model is known by
// its fingerprint (ModelFolder), never by its name.
struct Calibration {
  struct Alphas {
    double high = 0;
    double low = 0;
  };
  std::string model;  // its name, for people
  Digest fingerprint;
  std::map<std::string, Alphas> profiles;
};

// {"format": "decant calibration v1", "model": NAME, "fingerprint": 64 hexadecimal digits,
//  "profiles": {PROFILE: {"alpha_high": H, "alpha_low": L}}, "measured": anything}: what `decant calibrate --out`
// writes. INVALID_ARGUMENT with the field and its value.
absl::StatusOr<Calibration> ParseCalibration(absl::string_view json);

// The profiles that decant ships, by name; a model's calibrated alphas (catalogue/calibration has those of the models
// that decant knows) replace the defaults of profiles whose allocation is by threshold.
class Catalogue {
 public:
  // The built-in profiles: the JSON files are compiled into the library, so that a binary needs no folder beside it.
  static absl::StatusOr<Catalogue> BuiltIn();
  absl::Status Add(Profile profile);                     // ALREADY_EXISTS for a second profile of a name
  absl::Status AddCalibration(Calibration calibration);  // ALREADY_EXISTS for a second one of a model
  void ReplaceCalibration(Calibration calibration);      // the one of its model, if there was one
  // NOT_FOUND lists the names there are.
  absl::StatusOr<Profile> Find(absl::string_view name) const;
  // The same with the alphas measured for this model, when there are any; they change its digest.
  absl::StatusOr<Profile> FindFor(absl::string_view name, const Digest& model) const;
  bool IsCalibrated(const Digest& model) const { return calibrations_.count(model) > 0; }
  std::vector<std::string> Names() const;

 private:
  std::map<std::string, Profile> profiles_;
  std::map<Digest, Calibration> calibrations_;  // by the model's fingerprint
};

// INVALID_ARGUMENT names the two stages that conflict, or the field that the geometry does not allow (head_dim not a
// multiple of 8, ...).
absl::StatusOr<Recipe> Compile(const Profile& profile, const Geometry& geometry, RunType run_type);

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_PROFILE_H_
