#include "common/store/tenant_file.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/base/tenant_name.h"
#include "common/compress/json_lines.h"

namespace decant {
namespace {

using Json = nlohmann::json;
using Lines = std::map<std::string, int32_t>;

constexpr double kMostWeight = 1e6;
constexpr char kRootFields[] = "tenants, default";
constexpr char kTermFields[] = "quota_bytes, weight, retention_bytes";

// An error about the member at `path`.
absl::Status At(const Lines& lines, const std::string& path, absl::string_view what) {
  const auto line = lines.find(path);
  return absl::InvalidArgumentError(absl::StrCat("line ", line == lines.end() ? 1 : line->second, ": ", what));
}

std::string Shown(const Json& value) {
  const std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  return text.size() > 60 ? text.substr(0, 60) + "..." : text;
}

absl::Status Unknown(const Lines& lines, const std::string& path, const std::string& name, absl::string_view known) {
  return At(lines, path,
            absl::StrCat("field '", name, "' is unknown", DidYouMean(name, known), "; the fields are ", known));
}

absl::StatusOr<int64_t> Bytes(const Json& value, const Lines& lines, const std::string& path, absl::string_view name) {
  const bool fits = value.is_number_integer() && (!value.is_number_unsigned() || value.get<uint64_t>() <= INT64_MAX);
  if (fits && value.get<int64_t>() >= 0) return value.get<int64_t>();
  return At(lines, path, absl::StrCat("'", name, "' is ", Shown(value), "; it must be a number of bytes, 0 or more"));
}

absl::StatusOr<TenantTerms> ParseTerms(const Json& value, const Lines& lines, const std::string& path,
                                       int64_t capacity_bytes) {
  if (!value.is_object()) {
    return At(lines, path, absl::StrCat("'", path, "' is ", Shown(value), "; it must be an object of ", kTermFields));
  }
  TenantTerms terms;
  std::optional<int64_t> retention;
  for (const auto& [name, field] : value.items()) {
    const std::string here = absl::StrCat(path, "/", name);
    if (name == "quota_bytes") {
      DECANT_ASSIGN_OR_RETURN(terms.quota_bytes, Bytes(field, lines, here, name));
    } else if (name == "retention_bytes") {
      DECANT_ASSIGN_OR_RETURN(retention, Bytes(field, lines, here, name));
    } else if (name == "weight") {
      if (!field.is_number() || !(field.get<double>() > 0 && field.get<double>() <= kMostWeight)) {
        return At(lines, here,
                  absl::StrCat("'weight' is ", Shown(field), "; it must be a number above 0, at most 1000000"));
      }
      terms.weight = field.get<double>();
    } else {
      return Unknown(lines, here, name, kTermFields);
    }
  }
  terms.retention_budget_bytes = retention.value_or(std::min(terms.quota_bytes, capacity_bytes) / 4);
  return terms;
}

}  // namespace

TenantTable EqualTenants(int64_t capacity_bytes) {
  TenantTerms terms;
  terms.retention_budget_bytes = capacity_bytes / 4;
  return TenantTable(terms);
}

absl::StatusOr<TenantTable> ParseTenants(absl::string_view json, int64_t capacity_bytes) {
  DECANT_ASSIGN_OR_RETURN(const Lines lines, JsonMemberLines(json, 3));
  const Json root = Json::parse(json.begin(), json.end());  // which is an object, as the lines say
  for (const auto& [name, value] : root.items()) {
    if (name != "tenants" && name != "default") return Unknown(lines, name, name, kRootFields);
  }
  DECANT_ASSIGN_OR_RETURN(const TenantTerms unknown,
                          ParseTerms(root.value("default", Json::object()), lines, "default", capacity_bytes));
  TenantTable table(unknown);
  const Json tenants = root.value("tenants", Json::object());
  if (!tenants.is_object()) {
    return At(lines, "tenants", absl::StrCat("'tenants' is ", Shown(tenants), "; it must be an object of names"));
  }
  for (const auto& [name, value] : tenants.items()) {
    const std::string path = absl::StrCat("tenants/", name);
    if (!IsTenantName(name)) {
      return At(lines, path,
                absl::StrCat("'", name.substr(0, 60), "' is no name of a tenant; it must have ", kTenantNameRule));
    }
    DECANT_ASSIGN_OR_RETURN(const TenantTerms terms, ParseTerms(value, lines, path, capacity_bytes));
    const absl::Status configured = table.Configure(name, terms);
    if (!configured.ok()) return At(lines, path, configured.message());
  }
  return table;
}

}  // namespace decant
