#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "common/compress/embedded_catalogue.h"
#include "common/compress/profile.h"
#include "common/compress/profile_names.h"

namespace decant {
namespace {

absl::Status InFile(const EmbeddedFile& file, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat("catalogue file ", file.name, ".json: ", status.message()));
}

}  // namespace

absl::StatusOr<Catalogue> Catalogue::BuiltIn() {
  Catalogue catalogue;
  for (const EmbeddedFile& file : EmbeddedProfiles()) {
    absl::StatusOr<Profile> profile = ParseProfile(file.text);
    if (!profile.ok()) return InFile(file, profile.status());
    DECANT_RETURN_IF_ERROR(catalogue.Add(*std::move(profile)));
  }
  for (const EmbeddedFile& file : EmbeddedCalibrations()) {
    absl::StatusOr<Calibration> calibration = ParseCalibration(file.text);
    if (!calibration.ok()) return InFile(file, calibration.status());
    DECANT_RETURN_IF_ERROR(catalogue.AddCalibration(*std::move(calibration)));
  }
  return catalogue;
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
  return absl::NotFoundError(absl::StrCat("profile '", name, "' is unknown; there are ", absl::StrJoin(Names(), ", ")));
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

std::vector<std::string> Catalogue::Names() const {
  std::vector<std::string> names;
  for (const auto& [name, profile] : profiles_) names.push_back(name);
  return names;
}

}  // namespace decant
