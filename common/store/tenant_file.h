// Who may store how much, as JSON:
//
//   {"tenants": {"name": {"quota_bytes": N, "weight": W, "retention_bytes": N}, ...},
//    "default": {...}}
//
// Every member may be left out. "default" holds the terms of every tenant that is not named, and of who says no name.
// Without a quota a tenant is bounded by the pool alone; weights are 1; and a quarter of what a tenant may store may be
// retained above the default priority.
#ifndef DECANT_COMMON_STORE_TENANT_FILE_H_
#define DECANT_COMMON_STORE_TENANT_FILE_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/store/tenants.h"

namespace decant {

// INVALID_ARGUMENT with the line and what is allowed. `capacity_bytes` is the pool's.
absl::StatusOr<TenantTable> ParseTenants(absl::string_view json, int64_t capacity_bytes);

// What there is without a file: everybody is bounded by the pool alone.
TenantTable EqualTenants(int64_t capacity_bytes);

}  // namespace decant

#endif  // DECANT_COMMON_STORE_TENANT_FILE_H_
