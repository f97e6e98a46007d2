#include "common/policy/profile_table.h"

#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "common/policy/embedded_tables.h"
#include "nlohmann/json.hpp"

namespace decant {
namespace {

using nlohmann::json;

constexpr char kFormat[] = "decant profile table v1";

absl::StatusOr<std::string> Text(const json& object, const char* field) {
  const auto found = object.find(field);
  if (found == object.end() || !found->is_string() || found->get_ref<const std::string&>().empty()) {
    return absl::InvalidArgumentError(absl::StrCat("field ", field, " must be a text that is not empty"));
  }
  return found->get<std::string>();
}

// A number in [least, most], least excluded when `positive`.
absl::StatusOr<double> Number(const json& object, const char* field, double least, double most, bool positive) {
  const auto found = object.find(field);
  if (found == object.end() || !found->is_number()) {
    return absl::InvalidArgumentError(absl::StrCat("field ", field, " must be a number"));
  }
  const auto value = found->get<double>();
  if (!std::isfinite(value) || value < least || value > most || (positive && value == least)) {
    return absl::InvalidArgumentError(absl::StrCat("field ", field, " is ", value, ", out of range"));
  }
  return value;
}

absl::Status CheckFields(const json& object, const std::vector<std::string>& known) {
  for (const auto& item : object.items()) {
    bool found = false;
    for (const std::string& name : known) found = found || name == item.key();
    if (!found) {
      return absl::InvalidArgumentError(
          absl::StrCat("unknown field ", item.key(), "; known are ", absl::StrJoin(known, ", ")));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<HitCost> ParseHit(const json& object) {
  if (!object.is_object()) return absl::InvalidArgumentError("field hit must be an object");
  DECANT_RETURN_IF_ERROR(CheckFields(object, {"quality", "wire_ratio", "resident_ratio"}));
  constexpr double kMost = std::numeric_limits<double>::max();
  HitCost hit;
  DECANT_ASSIGN_OR_RETURN(hit.quality, Number(object, "quality", 0, 1, false));
  DECANT_ASSIGN_OR_RETURN(hit.wire_ratio, Number(object, "wire_ratio", 0, kMost, true));
  DECANT_ASSIGN_OR_RETURN(hit.resident_ratio, Number(object, "resident_ratio", 0, kMost, true));
  return hit;
}

absl::StatusOr<ProfileCost> ParseCost(const json& object) {
  if (!object.is_object()) return absl::InvalidArgumentError("every entry of profiles must be an object");
  DECANT_RETURN_IF_ERROR(CheckFields(
      object, {"name", "quality", "wire_ratio", "resident_ratio", "encode_bytes_per_s", "tpot_ratio", "hit"}));
  constexpr double kMost = std::numeric_limits<double>::max();
  ProfileCost cost;
  DECANT_ASSIGN_OR_RETURN(cost.name, Text(object, "name"));
  DECANT_ASSIGN_OR_RETURN(cost.quality, Number(object, "quality", 0, 1, false));
  DECANT_ASSIGN_OR_RETURN(cost.wire_ratio, Number(object, "wire_ratio", 0, kMost, true));
  DECANT_ASSIGN_OR_RETURN(cost.resident_ratio, Number(object, "resident_ratio", 0, kMost, true));
  DECANT_ASSIGN_OR_RETURN(cost.encode_bytes_per_s, Number(object, "encode_bytes_per_s", 0, kMost, true));
  DECANT_ASSIGN_OR_RETURN(cost.tpot_ratio, Number(object, "tpot_ratio", 0, kMost, true));
  if (const auto hit = object.find("hit"); hit != object.end()) {
    DECANT_ASSIGN_OR_RETURN(cost.hit, ParseHit(*hit));
  }
  return cost;
}

}  // namespace

const ProfileCost* ProfileTable::Find(absl::string_view profile) const {
  for (const ProfileCost& cost : profiles) {
    if (cost.name == profile) return &cost;
  }
  return nullptr;
}

absl::StatusOr<ProfileTable> ParseProfileTable(absl::string_view text) {
  const json root = json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!root.is_object()) return absl::InvalidArgumentError("a profile table must be a JSON object");
  DECANT_RETURN_IF_ERROR(CheckFields(root, {"format", "model", "fingerprint", "measured", "profiles"}));
  DECANT_ASSIGN_OR_RETURN(const std::string format, Text(root, "format"));
  if (format != kFormat) {
    return absl::InvalidArgumentError(absl::StrCat("format is '", format, "', this build reads '", kFormat, "'"));
  }
  ProfileTable table;
  DECANT_ASSIGN_OR_RETURN(table.model, Text(root, "model"));
  DECANT_ASSIGN_OR_RETURN(const std::string fingerprint, Text(root, "fingerprint"));
  const auto digest = Digest::FromHex(fingerprint);
  if (!digest.has_value()) {
    return absl::InvalidArgumentError(absl::StrCat("field fingerprint is '", fingerprint,
                                                   "', not 64 hexadecimal digits; `decant inspect` shows the model's"));
  }
  table.fingerprint = *digest;
  const auto measured = root.find("measured");
  if (measured == root.end() || !measured->is_object()) {
    return absl::InvalidArgumentError("field measured must say how the numbers came about");
  }
  std::vector<std::string> how;
  for (const char* field : {"command", "machine", "commit", "date"}) {
    DECANT_ASSIGN_OR_RETURN(std::string value, Text(*measured, field));
    how.push_back(std::move(value));
  }
  table.measured = absl::StrJoin(how, "; ");
  const auto profiles = root.find("profiles");
  if (profiles == root.end() || !profiles->is_array()) {
    return absl::InvalidArgumentError("field profiles must be a list");
  }
  for (const json& object : *profiles) {
    DECANT_ASSIGN_OR_RETURN(ProfileCost cost, ParseCost(object));
    if (table.Find(cost.name) != nullptr) {
      return absl::InvalidArgumentError(absl::StrCat("profile ", cost.name, " stands there twice"));
    }
    table.profiles.push_back(std::move(cost));
  }
  const ProfileCost* full = table.Find("full");
  if (full == nullptr) return absl::InvalidArgumentError("profile full is missing: every other is measured against it");
  if (full->quality != 1)
    return absl::InvalidArgumentError(absl::StrCat("quality of full is ", full->quality, ", not 1"));
  return table;
}

absl::StatusOr<ProfileTables> ProfileTables::BuiltIn() {
  ProfileTables tables;
  for (const EmbeddedTable& file : EmbeddedTables()) {
    absl::StatusOr<ProfileTable> table = ParseProfileTable(file.text);
    absl::Status status = table.status();
    if (status.ok())
      status = file.name == "generic" ? tables.AddGeneric(*std::move(table)) : tables.Add(*std::move(table));
    if (!status.ok()) {
      return absl::Status(status.code(), absl::StrCat("common/policy/tables/", file.name, ".json: ", status.message()));
    }
  }
  return tables;
}

absl::Status ProfileTables::Add(ProfileTable table) {
  for (const ProfileTable& other : tables_) {
    if (other.fingerprint == table.fingerprint) {
      return absl::AlreadyExistsError(absl::StrCat("model '", table.model, "' (fingerprint ", table.fingerprint.Hex(),
                                                   ") has a profile table already"));
    }
  }
  tables_.push_back(std::move(table));
  return absl::OkStatus();
}

void ProfileTables::Replace(ProfileTable table) {
  std::erase_if(tables_, [&](const ProfileTable& other) { return other.fingerprint == table.fingerprint; });
  tables_.push_back(std::move(table));
}

absl::Status ProfileTables::AddGeneric(ProfileTable table) {
  if (!generic_.empty()) return absl::AlreadyExistsError("there is a generic profile table already");
  generic_.push_back(std::move(table));
  return absl::OkStatus();
}

const ProfileTable* ProfileTables::For(const Digest& model) const {
  for (const ProfileTable& table : tables_) {
    if (table.fingerprint == model) return &table;
  }
  return generic_.empty() ? nullptr : &generic_.front();
}

}  // namespace decant
