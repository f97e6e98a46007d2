#ifndef DECANT_SERVICES_ROUTER_TENANT_SECRET_H_
#define DECANT_SERVICES_ROUTER_TENANT_SECRET_H_

#include <string>

#include "absl/status/statusor.h"

namespace decant {

inline constexpr size_t kLeastSecretBytes = 16;
inline constexpr size_t kMostSecretBytes = 4096;

// The bytes of the file without the white space at its end. NOT_FOUND when it cannot be read, INVALID_ARGUMENT when it
// is shorter or longer than a secret may be; no message shows a byte of it.
absl::StatusOr<std::string> ReadTenantSecret(const std::string& path);

}  // namespace decant

#endif  // DECANT_SERVICES_ROUTER_TENANT_SECRET_H_
