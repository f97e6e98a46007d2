#include "services/router/pool_shards.h"

namespace decant {

std::string PoolShards::Of(absl::Span<const Digest> keys) const {
  if (addresses().empty()) return "";
  if (keys.empty()) return addresses().front();
  return addresses()[shards_.ShardOf(keys[keys.size() < kShardRun ? 0 : kShardRun - 1])];
}

std::string PoolShards::OfShorter(absl::Span<const Digest> keys) const {
  if (keys.size() < kShardRun) return "";
  const std::string before = Of(keys.first(1));
  return before == Of(keys) ? "" : before;
}

uint64_t PoolShards::Name(const std::string& pool, const std::string& tenant, uint64_t lease) {
  if (lease == 0) return 0;
  leases_[++last_] = Lease{pool, tenant, lease};
  return last_;
}

std::optional<PoolShards::Lease> PoolShards::Find(uint64_t name) const {
  const auto found = leases_.find(name);
  if (found == leases_.end()) return std::nullopt;
  return found->second;
}

std::optional<PoolShards::Lease> PoolShards::Take(uint64_t name) {
  const std::optional<Lease> lease = Find(name);
  leases_.erase(name);
  return lease;
}

}  // namespace decant
