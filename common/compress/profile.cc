#include "common/compress/profile.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/compress/profile_names.h"

namespace decant {
namespace {

using Json = nlohmann::json;

absl::Status FieldError(absl::string_view field, const Json& value, absl::string_view wanted) {
  return absl::InvalidArgumentError(absl::StrCat("field '", field, "' is ", value.dump(), "; it must be ", wanted));
}

absl::StatusOr<Json> ParseObject(absl::string_view json) {
  Json parsed = Json::parse(json.begin(), json.end(), nullptr, /*allow_exceptions=*/false);
  if (parsed.is_discarded()) return absl::InvalidArgumentError("not a JSON text");
  if (!parsed.is_object()) return absl::InvalidArgumentError("not a JSON object");
  return parsed;
}

template <typename T, size_t kCount>
absl::Status ReadStage(const Json& value, absl::string_view field, const StageName<T> (&names)[kCount],
                       std::string& out) {
  if (!value.is_string() || !FindStage(names, value.get_ref<const std::string&>()).has_value()) {
    return FieldError(field, value, absl::StrCat("one of ", StageList(names)));
  }
  out = value.get<std::string>();
  return absl::OkStatus();
}

absl::Status ReadName(const Json& value, absl::string_view field, std::string& out) {
  if (!value.is_string() || value.get_ref<const std::string&>().empty()) {
    return FieldError(field, value, "a name that is not empty");
  }
  out = value.get<std::string>();
  return absl::OkStatus();
}

absl::Status ReadAlpha(const Json& value, absl::string_view field, double& out) {
  if (!value.is_number() || !std::isfinite(value.get<double>()) || value.get<double>() < 0) {
    return FieldError(field, value, "a number that is not negative");
  }
  out = value.get<double>();
  return absl::OkStatus();
}

absl::Status ReadCount(const Json& value, absl::string_view field, int32_t& out) {
  if (!value.is_number_integer() || value.get<double>() < 0 || value.get<double>() > 65535) {
    return FieldError(field, value, "a whole number from 0 to 65535");
  }
  out = value.get<int32_t>();
  return absl::OkStatus();
}

absl::Status ReadField(const std::string& field, const Json& value, Profile& profile) {
  if (field == "name") return ReadName(value, field, profile.name);
  if (field == "version") return ReadCount(value, field, profile.version);
  if (field == "score") return ReadStage(value, field, kScoreNames, profile.score);
  if (field == "allocate") return ReadStage(value, field, kAllocateNames, profile.allocate);
  if (field == "online") return ReadStage(value, field, kOnlineNames, profile.online);
  if (field == "high") return ReadStage(value, field, kFormatNames, profile.high);
  if (field == "low") return ReadStage(value, field, kFormatNames, profile.low);
  if (field == "alpha_high") return ReadAlpha(value, field, profile.alpha_high);
  if (field == "alpha_low") return ReadAlpha(value, field, profile.alpha_low);
  if (field == "window") return ReadCount(value, field, profile.window);
  if (field == "shareable") return ReadName(value, field, profile.shareable);
  return absl::InvalidArgumentError(absl::StrCat("field '", field, "' is unknown; remove it"));
}

}  // namespace

Digest ProfileDigest(const Profile& profile) {
  const Json canonical = {{"name", profile.name},
                          {"version", profile.version},
                          {"score", profile.score},
                          {"allocate", profile.allocate},
                          {"online", profile.online},
                          {"high", profile.high},
                          {"low", profile.low},
                          {"alpha_high", profile.alpha_high},
                          {"alpha_low", profile.alpha_low},
                          {"window", profile.window},
                          {"shareable", profile.shareable.empty() ? profile.name : profile.shareable}};
  return Sha256(canonical.dump());
}

absl::StatusOr<Profile> ParseProfile(absl::string_view json) {
  DECANT_ASSIGN_OR_RETURN(const Json object, ParseObject(json));
  Profile profile;
  for (const auto& [field, value] : object.items()) DECANT_RETURN_IF_ERROR(ReadField(field, value, profile));
  if (profile.name.empty()) return absl::InvalidArgumentError("field 'name' is missing; give the profile a name");
  if (profile.high.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("field 'high' is missing; it must be one of ", StageList(kFormatNames)));
  }
  profile.digest = ProfileDigest(profile);
  return profile;
}

absl::StatusOr<Calibration> ParseCalibration(absl::string_view json) {
  DECANT_ASSIGN_OR_RETURN(const Json object, ParseObject(json));
  Calibration calibration;
  for (const auto& [field, value] : object.items()) {
    if (field == "measured") continue;
    if (field == "format" && value == "decant calibration v1") continue;
    if (field == "format") return FieldError(field, value, "'decant calibration v1'; run `decant calibrate` again");
    if (field == "fingerprint") {
      const auto digest = Digest::FromHex(value.is_string() ? value.get<std::string>() : "");
      if (!digest.has_value()) return FieldError(field, value, "64 hexadecimal digits, as `decant inspect` shows them");
      calibration.fingerprint = *digest;
      continue;
    }
    if (field == "model") {
      DECANT_RETURN_IF_ERROR(ReadName(value, field, calibration.model));
      continue;
    }
    if (field != "profiles" || !value.is_object()) return FieldError(field, value, "absent, or 'profiles' an object");
    for (const auto& [name, alphas] : value.items()) {
      if (!alphas.is_object() || alphas.size() != 2 || !alphas.contains("alpha_high") ||
          !alphas.contains("alpha_low")) {
        return FieldError(absl::StrCat("profiles.", name), alphas, "an object of alpha_high and alpha_low");
      }
      Calibration::Alphas& read = calibration.profiles[name];
      DECANT_RETURN_IF_ERROR(ReadAlpha(alphas["alpha_high"], absl::StrCat(name, ".alpha_high"), read.high));
      DECANT_RETURN_IF_ERROR(ReadAlpha(alphas["alpha_low"], absl::StrCat(name, ".alpha_low"), read.low));
      if (read.low > read.high) return FieldError(name, alphas, "alpha_low at most alpha_high");
    }
  }
  if (!object.contains("format")) return absl::InvalidArgumentError("field 'format' is missing");
  if (calibration.model.empty()) return absl::InvalidArgumentError("field 'model' is missing; name the model");
  if (calibration.fingerprint.IsZero()) {
    return absl::InvalidArgumentError("field 'fingerprint' is missing; `decant inspect` shows the model's");
  }
  return calibration;
}

}  // namespace decant
