#include "common/compress/profile.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/compress/json_lines.h"
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
    const std::string list = StageList(names);
    const std::string near = value.is_string() ? DidYouMean(value.get_ref<const std::string&>(), list) : "";
    return FieldError(field, value, absl::StrCat("one of ", list, near));
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

absl::Status ReadNumber(const Json& value, absl::string_view field, double& out) {
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

absl::Status ReadNumbers(const Json& value, absl::string_view field, std::vector<double>& out) {
  if (!value.is_array()) return FieldError(field, value, "a list of numbers that are not negative");
  out.clear();
  for (const Json& number : value) DECANT_RETURN_IF_ERROR(ReadNumber(number, field, out.emplace_back()));
  return absl::OkStatus();
}

// Shows every field of a profile but its digest to one of the visitor's four functions: its name and its value.
template <typename AnyProfile, typename Visitor>
void VisitFields(AnyProfile& p, Visitor&& visit) {
  visit.Name("name", p.name);
  visit.Name("summary", p.summary);
  visit.Count("version", p.version);
  visit.Stage("score", p.score, kScoreNames);
  visit.Count("score_queries", p.score_queries);
  visit.Name("replay_first", p.replay_first);
  visit.Name("replay_later", p.replay_later);
  visit.Name("replay_reply", p.replay_reply);
  visit.Count("replay_chunk", p.replay_chunk);
  visit.Count("replay_quote", p.replay_quote);
  visit.Stage("reduce", p.reduce, kReduceNames);
  visit.Stage("pool", p.pool, kPoolNames);
  visit.Count("pool_width", p.pool_width);
  visit.Stage("allocate", p.allocate, kAllocateNames);
  visit.Number("budget", p.budget);
  visit.Number("high_share", p.high_share);
  visit.Number("beta", p.beta);
  visit.Numbers("layer_shares", p.layer_shares);
  visit.Number("alpha_high", p.alpha_high);
  visit.Number("alpha_low", p.alpha_low);
  visit.Count("window", p.window);
  visit.Count("sinks", p.sinks);
  visit.Stage("rope", p.rope, kRopeNames);
  visit.Count("hadamard", p.hadamard);
  visit.Stage("balance", p.balance, kBalanceNames);
  visit.Count("group_layers", p.group_layers);
  visit.Number("key_rank", p.key_rank);
  visit.Number("value_rank", p.value_rank);
  visit.Stage("high", p.high, kFormatNames);
  visit.Stage("low", p.low, kFormatNames);
  visit.Count("key_levels", p.key_levels);
  visit.Count("value_levels", p.value_levels);
  visit.Stage("code", p.code, kCodeNames);
  visit.Stage("online", p.online, kOnlineNames);
  visit.Count("read_tokens", p.read_tokens);
  visit.Count("dense_layers", p.dense_layers);
  visit.Number("propagation_depth", p.propagation_depth);
  visit.Number("propagation_share", p.propagation_share);
  visit.Name("shareable", p.shareable);
}

// Fills the one field that a JSON member names.
struct FieldReader {
  absl::string_view field;
  const Json& value;
  bool known = false;
  absl::Status status;

  void Name(absl::string_view name, std::string& out) {
    if (Knows(name)) status = ReadName(value, field, out);
  }
  void Count(absl::string_view name, int32_t& out) {
    if (!Knows(name)) return;
    status = ReadCount(value, field, out);
    if (status.ok() && name == "version" && out != kProfileVersion) {
      status = FieldError(field, value, absl::StrCat(kProfileVersion, ", the version that this build reads"));
    }
  }
  void Number(absl::string_view name, double& out) {
    if (Knows(name)) status = ReadNumber(value, field, out);
  }
  void Numbers(absl::string_view name, std::vector<double>& out) {
    if (Knows(name)) status = ReadNumbers(value, field, out);
  }
  template <typename T, size_t kCount>
  void Stage(absl::string_view name, std::string& out, const StageName<T> (&names)[kCount]) {
    if (!Knows(name)) return;
    if (out.empty() && value == "") return;  // as canonical bytes spell what is not there
    status = ReadStage(value, field, names, out);
  }

 private:
  bool Knows(absl::string_view name) {
    if (name != field) return false;
    known = true;
    return true;
  }
};

// Collects the fields that make the canonical bytes.
struct FieldWriter {
  Json fields = Json::object();

  void Name(const char* name, const std::string& value) { fields[name] = value; }
  void Count(const char* name, int32_t value) { fields[name] = value; }
  void Number(const char* name, double value) { fields[name] = value; }
  void Numbers(const char* name, const std::vector<double>& value) { fields[name] = value; }
  template <typename T, size_t kCount>
  void Stage(const char* name, const std::string& value, const StageName<T> (&)[kCount]) {
    fields[name] = value;
  }
};

Json FieldsOf(const Profile& profile) {
  FieldWriter writer;
  VisitFields(profile, writer);
  return writer.fields;
}

// Fields of the first catalogue are always part of the digest; later ones only where they say something, so that a new
// field changes no digest.
bool IsOldField(const std::string& field) {
  static constexpr const char* kOld[] = {"name", "version", "score",      "allocate",  "online",
                                         "high", "low",     "alpha_high", "alpha_low", "window"};
  return std::find(std::begin(kOld), std::end(kOld), field) != std::end(kOld);
}

// "allocate, alpha_high, ..."
std::string FieldNames() {
  std::string names;
  const Json fields = FieldsOf(Profile{});
  for (const auto& [field, value] : fields.items()) absl::StrAppend(&names, names.empty() ? "" : ", ", field);
  return names;
}

}  // namespace

std::string CanonicalJson(const Profile& profile) {
  static const Json* const defaults = new Json(FieldsOf(Profile{}));
  const Json fields = FieldsOf(profile);
  Json canonical = Json::object();
  for (const auto& [field, value] : fields.items()) {
    if (IsOldField(field) || value != (*defaults)[field]) canonical[field] = value;
  }
  canonical.erase("summary");
  canonical["shareable"] = profile.shareable.empty() ? profile.name : profile.shareable;
  return canonical.dump();
}

Digest ProfileDigest(const Profile& profile) { return Sha256(CanonicalJson(profile)); }

absl::StatusOr<Profile> ParseProfile(absl::string_view json) {
  DECANT_ASSIGN_OR_RETURN(const auto lines, JsonMemberLines(json));
  DECANT_ASSIGN_OR_RETURN(const Json object, ParseObject(json));
  Profile profile;
  for (const auto& [field, value] : object.items()) {
    FieldReader reader{field, value, false, absl::OkStatus()};
    VisitFields(profile, reader);
    if (!reader.known) {
      const std::string known = FieldNames();
      reader.status = absl::InvalidArgumentError(
          absl::StrCat("field '", field, "' is unknown", DidYouMean(field, known), "; the fields are ", known));
    }
    if (!reader.status.ok()) {
      const auto line = lines.find(field);
      return absl::InvalidArgumentError(
          absl::StrCat("line ", line == lines.end() ? 1 : line->second, ": ", reader.status.message()));
    }
  }
  if (profile.name.empty()) return absl::InvalidArgumentError("field 'name' is missing; give the profile a name");
  if (profile.high.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("field 'high' is missing; it must be one of ", StageList(kFormatNames)));
  }
  profile.digest = ProfileDigest(profile);
  return profile;
}

bool HasBudget(const Profile& profile) {
  const std::optional<Allocation> allocation = FindStage(kAllocateNames, profile.allocate);
  return allocation.has_value() && *allocation >= Allocation::kTop && *allocation != Allocation::kWindowSplit;
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
      if (alphas.is_object() && alphas.size() == 1 && alphas.contains("layer_shares")) {
        const absl::Status read = ReadNumbers(alphas["layer_shares"], absl::StrCat(name, ".layer_shares"),
                                              calibration.profiles[name].layer_shares);
        if (!read.ok()) return read;
        continue;
      }
      if (!alphas.is_object() || alphas.size() != 2 || !alphas.contains("alpha_high") ||
          !alphas.contains("alpha_low")) {
        return FieldError(absl::StrCat("profiles.", name), alphas,
                          "an object of alpha_high and alpha_low, or of layer_shares");
      }
      Calibration::Alphas& read = calibration.profiles[name];
      DECANT_RETURN_IF_ERROR(ReadNumber(alphas["alpha_high"], absl::StrCat(name, ".alpha_high"), read.high));
      DECANT_RETURN_IF_ERROR(ReadNumber(alphas["alpha_low"], absl::StrCat(name, ".alpha_low"), read.low));
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
