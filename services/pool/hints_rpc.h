// Hints between messages and the pool's core.
#ifndef DECANT_SERVICES_POOL_HINTS_RPC_H_
#define DECANT_SERVICES_POOL_HINTS_RPC_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "decant/v1/pool.pb.h"
#include "services/pool/pool_hints.h"

namespace decant {

// What cannot be read of a hint makes it one of an unknown kind, which is refused by its receipt. INVALID_ARGUMENT for
// a tenant that cannot be one and for more than kMostHints.
inline constexpr int kMostHints = 64;
absl::StatusOr<std::vector<Hint>> HintsFrom(const v1::PoolHintRequest& request);
v1::PoolHintReply ToProto(const std::vector<HintReceipt>& receipts);

// INVALID_ARGUMENT unless it is "" or may be a tenant's name.
absl::Status CheckTenant(const std::string& tenant);

}  // namespace decant

#endif  // DECANT_SERVICES_POOL_HINTS_RPC_H_
