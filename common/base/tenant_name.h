#ifndef DECANT_COMMON_BASE_TENANT_NAME_H_
#define DECANT_COMMON_BASE_TENANT_NAME_H_

#include <algorithm>
#include <cstddef>

#include "absl/strings/ascii.h"
#include "absl/strings/string_view.h"

namespace decant {

inline constexpr size_t kLongestTenantName = 128;
inline constexpr char kTenantNameRule[] = "1 to 128 letters, digits, '.', '_' and '-'";

// Whether a tenant may be called so: kTenantNameRule. "", who says nothing, is the default tenant and not a name.
inline bool IsTenantName(absl::string_view name) {
  const auto allowed = [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
  };
  return !name.empty() && name.size() <= kLongestTenantName && std::all_of(name.begin(), name.end(), allowed);
}

}  // namespace decant

#endif  // DECANT_COMMON_BASE_TENANT_NAME_H_
