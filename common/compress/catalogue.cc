#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "common/compress/embedded_catalogue.h"
#include "common/compress/json_lines.h"
#include "common/compress/profile.h"
#include "common/compress/profile_names.h"

namespace decant {
namespace {

absl::Status InFile(absl::string_view file, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(file, ": ", status.message()));
}

// Large enough for every number that does not depend on a model.
Geometry AnyGeometry(const Profile& profile) {
  const auto layers = static_cast<int32_t>(profile.layer_shares.size());
  return Geometry{layers > 0 ? layers : 32, 32, 8, 256};
}

}  // namespace

absl::StatusOr<Catalogue> Catalogue::BuiltIn() {
  Catalogue catalogue;
  for (const EmbeddedFile& file : EmbeddedProfiles()) {
    DECANT_RETURN_IF_ERROR(catalogue.AddFile(absl::StrCat("catalogue file ", file.name, ".json"), file.text));
  }
  for (const EmbeddedFile& file : EmbeddedCalibrations()) {
    absl::StatusOr<Calibration> calibration = ParseCalibration(file.text);
    if (!calibration.ok()) return InFile(absl::StrCat("catalogue file ", file.name, ".json"), calibration.status());
    DECANT_RETURN_IF_ERROR(catalogue.AddCalibration(*std::move(calibration)));
  }
  DECANT_RETURN_IF_ERROR(catalogue.CheckShareable());
  return catalogue;
}

absl::Status Catalogue::AddFile(absl::string_view file, absl::string_view text) {
  absl::StatusOr<Profile> profile = ParseProfile(text);
  if (!profile.ok()) return InFile(file, profile.status());
  const absl::Status legal = Compile(*profile, AnyGeometry(*profile), RunType::kBf16).status();
  if (!legal.ok()) return InFile(file, legal);
  const absl::Status added = Add(*std::move(profile));
  return added.ok() ? added : InFile(file, added);
}

absl::Status Catalogue::CheckShareable() const {
  for (const auto& [name, profile] : profiles_) {
    const std::string& form = profile.shareable.empty() ? name : profile.shareable;
    const auto found = profiles_.find(form);
    const std::string whose = absl::StrCat("profile '", name, "': shareable is '", form, "', ");
    if (found == profiles_.end()) {
      return absl::InvalidArgumentError(absl::StrCat(
          whose, "which is unknown", DidYouMean(form, absl::StrJoin(Names(), ", ")), "; full always works"));
    }
    const Profile& stored = found->second;
    DECANT_ASSIGN_OR_RETURN(const Recipe recipe, Compile(stored, AnyGeometry(stored), RunType::kBf16));
    if (!recipe.token_wise() || recipe.key_form != KeyForm{} || recipe.read.tokens > 0 || recipe.shareable != form) {
      return absl::InvalidArgumentError(
          absl::StrCat(whose,
                       "which is not fit to be stored: it must hold every token by itself, with plain keys after "
                       "rope, and be its own shareable form; full always works"));
    }
  }
  return absl::OkStatus();
}

absl::Status Catalogue::Add(Profile profile) {
  profile.digest = ProfileDigest(profile);
  const std::string name = profile.name;
  if (!profiles_.emplace(name, std::move(profile)).second) {
    return absl::AlreadyExistsError(absl::StrCat("profile '", name, "' is in the catalogue; choose another name"));
  }
  return absl::OkStatus();
}

absl::Status Catalogue::AddCalibration(Calibration calibration) {
  if (IsCalibrated(calibration.fingerprint)) {
    return absl::AlreadyExistsError(absl::StrCat("model '", calibration.model, "' (fingerprint ",
                                                 calibration.fingerprint.Hex(), ") has a calibration; keep one"));
  }
  ReplaceCalibration(std::move(calibration));
  return absl::OkStatus();
}

void Catalogue::ReplaceCalibration(Calibration calibration) {
  const Digest model = calibration.fingerprint;
  calibrations_.insert_or_assign(model, std::move(calibration));
}

absl::StatusOr<Profile> Catalogue::Find(absl::string_view name) const {
  const auto found = profiles_.find(std::string(name));
  if (found != profiles_.end()) return found->second;
  const std::string names = absl::StrJoin(Names(), ", ");
  return absl::NotFoundError(
      absl::StrCat("profile '", name, "' is unknown", DidYouMean(name, names), "; there are ", names));
}

absl::StatusOr<Profile> Catalogue::FindFor(absl::string_view name, const Digest& model) const {
  DECANT_ASSIGN_OR_RETURN(Profile profile, Find(name));
  const auto calibration = calibrations_.find(model);
  if (calibration == calibrations_.end() || profile.allocate == "all_high") return profile;
  const auto alphas = calibration->second.profiles.find(profile.name);
  if (alphas == calibration->second.profiles.end()) return profile;
  if (profile.allocate == "layer_shares") {
    profile.layer_shares = alphas->second.layer_shares;
  } else {
    profile.alpha_high = alphas->second.high;
    profile.alpha_low = alphas->second.low;
  }
  profile.digest = ProfileDigest(profile);
  return profile;
}

absl::StatusOr<Profile> Catalogue::FindSame(absl::string_view name, const Digest& model, const Digest& meant) const {
  DECANT_ASSIGN_OR_RETURN(Profile profile, FindFor(name, model));
  if (meant.IsZero() || profile.digest == meant) return profile;
  return absl::FailedPreconditionError(absl::StrCat(
      "profile '", name, "' has digest ", profile.digest.Hex().substr(0, 16), " here and ", meant.Hex().substr(0, 16),
      " where the request was planned; start every process with the same "
      "--profiles-dir, --tables and build"));
}

std::vector<std::string> Catalogue::Names() const {
  std::vector<std::string> names;
  for (const auto& [name, profile] : profiles_) names.push_back(name);
  return names;
}

}  // namespace decant
