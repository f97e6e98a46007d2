// Typed reading of a JSON file's fields, with errors that name the file and the field.
#ifndef DECANT_COMMON_MODEL_JSON_FIELDS_H_
#define DECANT_COMMON_MODEL_JSON_FIELDS_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace decant {

// NOT_FOUND when `path` cannot be opened.
absl::StatusOr<std::string> ReadTextFile(const std::string& path);

// INVALID_ARGUMENT, with the position, when `text` (the content of `path`) is not JSON.
absl::StatusOr<nlohmann::json> ParseJson(absl::string_view text, const std::string& path);

// One object of a parsed file; borrows it.
class JsonFields {
 public:
  // INVALID_ARGUMENT when `value` is not an object; `where` opens every message ("/m/config.json").
  static absl::StatusOr<JsonFields> Of(const nlohmann::json& value, std::string where);

  // Present and not null.
  bool Has(const char* name) const;

  // INVALID_ARGUMENT when the field is absent, null or of another kind, or an integer beyond int64.
  absl::StatusOr<int64_t> Int(const char* name) const;
  absl::StatusOr<double> Number(const char* name) const;
  absl::StatusOr<bool> Bool(const char* name) const;
  absl::StatusOr<std::string> String(const char* name) const;
  absl::StatusOr<JsonFields> Object(const char* name) const;
  absl::StatusOr<const nlohmann::json*> Array(const char* name) const;

  // The same with a value for a field that is absent or null.
  absl::StatusOr<int64_t> IntOr(const char* name, int64_t otherwise) const;
  absl::StatusOr<double> NumberOr(const char* name, double otherwise) const;
  absl::StatusOr<bool> BoolOr(const char* name, bool otherwise) const;
  absl::StatusOr<std::string> StringOr(const char* name, absl::string_view otherwise) const;

  const nlohmann::json& json() const { return *object_; }
  const std::string& where() const { return where_; }

 private:
  JsonFields(const nlohmann::json* object, std::string where) : object_(object), where_(std::move(where)) {}
  absl::StatusOr<const nlohmann::json*> Field(const char* name) const;
  absl::Status WrongKind(const char* name, const char* wanted) const;

  const nlohmann::json* object_;
  std::string where_;
};

}  // namespace decant

#endif  // DECANT_COMMON_MODEL_JSON_FIELDS_H_
