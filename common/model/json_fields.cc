#include "common/model/json_fields.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <limits>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace decant {

absl::StatusOr<std::string> ReadTextFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return absl::NotFoundError(absl::StrCat(path, ": ", std::strerror(errno),
                                            "; give the folder of a Hugging Face model that holds this file"));
  }
  std::ostringstream content;
  content << file.rdbuf();
  // A folder opens like a file and fails at the first read.
  if (!file && !file.eof()) return absl::NotFoundError(absl::StrCat(path, ": cannot be read as a file"));
  return std::move(content).str();
}

absl::StatusOr<nlohmann::json> ParseJson(absl::string_view text, const std::string& path) {
  try {
    return nlohmann::json::parse(text.begin(), text.end());
  } catch (const nlohmann::json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(path, " (", text.size(), " bytes) is not JSON: ", error.what(),
                                                   "; the file is damaged or cut off, download it again"));
  }
}

absl::StatusOr<JsonFields> JsonFields::Of(const nlohmann::json& value, std::string where) {
  if (!value.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(where, " must be a JSON object, not ", value.type_name()));
  }
  return JsonFields(&value, std::move(where));
}

bool JsonFields::Has(const char* name) const {
  const auto it = object_->find(name);
  return it != object_->end() && !it->is_null();
}

absl::StatusOr<const nlohmann::json*> JsonFields::Field(const char* name) const {
  if (!Has(name)) return absl::InvalidArgumentError(absl::StrCat(where_, ": the field \"", name, "\" is missing"));
  return &*object_->find(name);
}

absl::Status JsonFields::WrongKind(const char* name, const char* wanted) const {
  std::string shown = object_->find(name)->dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (shown.size() > 80) shown = shown.substr(0, 80) + "...";
  return absl::InvalidArgumentError(absl::StrCat(where_, ": \"", name, "\" must be ", wanted, ", not ", shown));
}

absl::StatusOr<int64_t> JsonFields::Int(const char* name) const {
  DECANT_ASSIGN_OR_RETURN(const nlohmann::json* field, Field(name));
  const bool too_large = field->is_number_unsigned() &&
                         field->get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  if (!field->is_number_integer() || too_large) return WrongKind(name, "an integer");
  return field->get<int64_t>();
}

absl::StatusOr<double> JsonFields::Number(const char* name) const {
  DECANT_ASSIGN_OR_RETURN(const nlohmann::json* field, Field(name));
  if (!field->is_number()) return WrongKind(name, "a number");
  return field->get<double>();
}

absl::StatusOr<bool> JsonFields::Bool(const char* name) const {
  DECANT_ASSIGN_OR_RETURN(const nlohmann::json* field, Field(name));
  if (!field->is_boolean()) return WrongKind(name, "true or false");
  return field->get<bool>();
}

absl::StatusOr<std::string> JsonFields::String(const char* name) const {
  DECANT_ASSIGN_OR_RETURN(const nlohmann::json* field, Field(name));
  if (!field->is_string()) return WrongKind(name, "a string");
  return field->get<std::string>();
}

absl::StatusOr<JsonFields> JsonFields::Object(const char* name) const {
  DECANT_ASSIGN_OR_RETURN(const nlohmann::json* field, Field(name));
  return Of(*field, absl::StrCat(where_, ": ", name));
}

absl::StatusOr<const nlohmann::json*> JsonFields::Array(const char* name) const {
  DECANT_ASSIGN_OR_RETURN(const nlohmann::json* field, Field(name));
  if (!field->is_array()) return WrongKind(name, "a list");
  return field;
}

absl::StatusOr<int64_t> JsonFields::IntOr(const char* name, int64_t otherwise) const {
  return Has(name) ? Int(name) : otherwise;
}

absl::StatusOr<double> JsonFields::NumberOr(const char* name, double otherwise) const {
  return Has(name) ? Number(name) : otherwise;
}

absl::StatusOr<bool> JsonFields::BoolOr(const char* name, bool otherwise) const {
  return Has(name) ? Bool(name) : otherwise;
}

absl::StatusOr<std::string> JsonFields::StringOr(const char* name, absl::string_view otherwise) const {
  return Has(name) ? String(name) : std::string(otherwise);
}

}  // namespace decant
