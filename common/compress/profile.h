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

inline constexpr int32_t kProfileVersion = 1;

// The words of the stages stand in profile_names.h; what they mean, in recipe.h.
struct Profile {
  std::string name;
  std::string summary;  // one line for people; no part of the digest
  int32_t version = kProfileVersion;
  // Score.
  std::string score = "none";
  int32_t score_queries = 64;  // of score last_window
  // Of score replay: ReplayWording of recipe.h.
  std::string replay_first;
  std::string replay_later;
  std::string replay_reply;
  int32_t replay_chunk = 2000;
  int32_t replay_quote = 8;
  std::string reduce = "max";
  std::string pool = "none";
  int32_t pool_width = 1;  // odd
  // Allocate.
  std::string allocate = "all_high";
  double budget = 1;  // in (0, 1]; a request or the lab may set another one
  double high_share = 0;
  double beta = 20;
  std::vector<double> layer_shares;
  double alpha_high = 0;
  double alpha_low = 0;
  int32_t window = 64;
  int32_t sinks = 0;
  // Transform.
  std::string rope = "post";     // post | pre
  int32_t hadamard = 0;          // order of the blocks: 0 or a power of two
  std::string balance = "none";  // none | channel
  int32_t group_layers = 0;      // layers over one basis
  double key_rank = 0;           // of the group's width
  double value_rank = 0;
  // Quantise and pack.
  std::string high;        // a format
  std::string low;         // empty, or a format smaller than high
  int32_t key_levels = 0;  // codes in use; 0: all of the bits
  int32_t value_levels = 0;
  // Code.
  std::string code = "raw";
  // Hooks.
  std::string online = "none";
  int32_t read_tokens = 0;  // a step reads per head; 0: all
  int32_t dense_layers = 0;
  double propagation_depth = 0;  // share of the layers after which tokens are left behind; 0: none are
  double propagation_share = 1;
  std::string shareable;  // profile name; empty = itself
  Digest digest;          // of the canonical bytes; filled in by ParseProfile
};

// INVALID_ARGUMENT with the line, the field, its value and what is allowed there.
absl::StatusOr<Profile> ParseProfile(absl::string_view json);

// The bytes whose SHA-256 is the profile's digest: what differs from the defaults, keys sorted, no white space.
std::string CanonicalJson(const Profile& profile);

// Whether `budget` changes what Compile makes of the profile.
bool HasBudget(const Profile& profile);

// What was measured for one model: by profile name the two alphas that replace the profile's own. The model is known by
// its fingerprint (ModelFolder), never by its name.
struct Calibration {
  struct Alphas {
    double high = 0;
    double low = 0;
    std::vector<double> layer_shares;  // in place of the alphas, of allocate layer_shares
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
  absl::Status Add(Profile profile);  // ALREADY_EXISTS for a second profile of a name
  // What a file says. Errors begin with `file` and name the line or the two stages that conflict.
  absl::Status AddFile(absl::string_view file, absl::string_view text);
  // INVALID_ARGUMENT for a profile whose shareable form is not there or cannot be stored. Once all profiles are in.
  absl::Status CheckShareable() const;
  absl::Status AddCalibration(Calibration calibration);  // ALREADY_EXISTS for a second one of a model
  void ReplaceCalibration(Calibration calibration);      // the one of its model, if there was one
  // NOT_FOUND lists the names there are.
  absl::StatusOr<Profile> Find(absl::string_view name) const;
  // The same with the alphas measured for this model, when there are any; they change its digest.
  absl::StatusOr<Profile> FindFor(absl::string_view name, const Digest& model) const;
  // The same, if it is the profile that another process means: FAILED_PRECONDITION when its digest is another one. A
  // zero digest means whichever there is.
  absl::StatusOr<Profile> FindSame(absl::string_view name, const Digest& model, const Digest& meant) const;
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
