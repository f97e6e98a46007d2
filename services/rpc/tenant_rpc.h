// Whose a call is. This is the one place that reads it; from here on it is an argument.
#ifndef DECANT_SERVICES_RPC_TENANT_RPC_H_
#define DECANT_SERVICES_RPC_TENANT_RPC_H_

#include <grpcpp/client_context.h>
#include <grpcpp/server_context.h>

#include <string>

#include "absl/status/statusor.h"

namespace decant {

inline constexpr char kTenantMetadata[] = "decant-tenant";

// The tenant that the call's metadata names; "", the default tenant, when it names none. INVALID_ARGUMENT for a name
// that cannot be one, or for several. Nothing proves it yet: only who may connect at all can name a tenant.
absl::StatusOr<std::string> TenantOf(const grpc::ServerContextBase& context);
// Makes a call one of this tenant's; "" of the default tenant's.
void NameTenant(const std::string& tenant, grpc::ClientContext& context);

}  // namespace decant

#endif  // DECANT_SERVICES_RPC_TENANT_RPC_H_
