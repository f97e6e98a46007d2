#include "services/rpc/tenant_rpc.h"

#include <iterator>

#include "absl/strings/str_cat.h"
#include "common/base/tenant_name.h"

namespace decant {

absl::StatusOr<std::string> TenantOf(const grpc::ServerContextBase& context) {
  const auto [first, last] = context.client_metadata().equal_range(kTenantMetadata);
  if (first == last) return std::string();
  const std::string name(first->second.data(), first->second.size());
  if (std::next(first) != last) {
    return absl::InvalidArgumentError(absl::StrCat("a call belongs to one tenant; ", kTenantMetadata, " came twice"));
  }
  if (!IsTenantName(name)) {
    return absl::InvalidArgumentError(
        absl::StrCat(kTenantMetadata, " has ", name.size(), " bytes and is no name; one has ", kTenantNameRule));
  }
  return name;
}

void NameTenant(const std::string& tenant, grpc::ClientContext& context) {
  if (!tenant.empty()) context.AddMetadata(kTenantMetadata, tenant);
}

}  // namespace decant
