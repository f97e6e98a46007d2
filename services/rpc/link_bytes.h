// Bytes of batches by the kind of link they moved over.
#ifndef DECANT_SERVICES_RPC_LINK_BYTES_H_
#define DECANT_SERVICES_RPC_LINK_BYTES_H_

#include <cstdint>
#include <map>
#include <string>

#include "common/base/link_kind.h"
#include "common/metrics/names.h"
#include "services/rpc/metrics.h"

namespace decant {

// A default one counts nothing.
class LinkBytes {
 public:
  LinkBytes() = default;
  // `direction` is "in" or "out".
  LinkBytes(Metrics& metrics, const std::string& direction) {
    for (const LinkKind kind :
         {LinkKind::kLoopback, LinkKind::kGrpc, LinkKind::kNccl, LinkKind::kCudaIpc, LinkKind::kSharedMemory}) {
      counters_[kind] = metrics.AddCounter(metric::kLinkBytes, "Bytes of batches moved over links.",
                                           {{"link", std::string(NameOf(kind))}, {"direction", direction}});
    }
  }
  void Increment(LinkKind kind, int64_t bytes) const {
    if (const auto found = counters_.find(kind); found != counters_.end()) {
      found->second.Increment(static_cast<double>(bytes));
    }
  }

 private:
  std::map<LinkKind, Counter> counters_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_RPC_LINK_BYTES_H_
