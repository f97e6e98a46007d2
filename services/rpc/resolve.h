// Names that stand for several servers.
#ifndef DECANT_SERVICES_RPC_RESOLVE_H_
#define DECANT_SERVICES_RPC_RESOLVE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace decant {

// Its addresses may change: "dns:///HOST:PORT".
bool IsDnsName(absl::string_view target);

// The servers of "HOST:PORT", of a list of such with commas between, or of all addresses that DNS gives for
// "dns:///HOST:PORT"; sorted, each once. Asks the system's resolver, and may block as long as that does.
// INVALID_ARGUMENT for what is none of the three, UNAVAILABLE when the name has no address now.
absl::StatusOr<std::vector<std::string>> ResolveTargets(const std::string& target);

}  // namespace decant

#endif  // DECANT_SERVICES_RPC_RESOLVE_H_
