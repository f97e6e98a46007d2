#include "common/index/leases.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/digest.h"
#include "common/base/status_macros.h"

namespace decant {

absl::StatusOr<uint64_t> LeaseTable::Grant(std::string tenant, std::vector<uint64_t> entries, absl::Time deadline,
                                           absl::Time last) {
  if (HeldBy(tenant) >= limit_) {
    return absl::ResourceExhaustedError(absl::StrCat(limit_, " leases are held; release some or wait"));
  }
  ++held_by_[tenant];
  uint64_t id = 0;
  while (id == 0 || leases_.contains(id)) {
    id = Sha256(absl::StrCat("decant lease v1\n", ++granted_, "\n", secret_)).Prefix64();
  }
  leases_.emplace(id, Lease{id, std::move(tenant), std::move(entries), std::min(deadline, last), last});
  by_deadline_.emplace(std::min(deadline, last), id);
  return id;
}

absl::StatusOr<const Lease*> LeaseTable::Find(uint64_t id, const std::string& tenant, absl::Time now) const {
  const auto found = leases_.find(id);
  // One answer for all four cases: nobody learns what another tenant holds.
  if (found == leases_.end() || found->second.deadline <= now || found->second.tenant != tenant) {
    return absl::NotFoundError(absl::StrCat("lease ", id, " is unknown or has ended; plan again"));
  }
  return &found->second;
}

absl::Status LeaseTable::Renew(uint64_t id, const std::string& tenant, absl::Time now, absl::Time deadline) {
  DECANT_RETURN_IF_ERROR(Find(id, tenant, now).status());
  Lease& lease = leases_.find(id)->second;
  deadline = std::min(deadline, lease.last);
  if (deadline <= lease.deadline) return absl::OkStatus();
  by_deadline_.erase({lease.deadline, id});
  lease.deadline = deadline;
  by_deadline_.emplace(deadline, id);
  return absl::OkStatus();
}

std::vector<uint64_t> LeaseTable::Release(uint64_t id, const std::string& tenant) {
  const auto found = leases_.find(id);
  if (found == leases_.end() || found->second.tenant != tenant) return {};
  return End(found);
}

std::vector<uint64_t> LeaseTable::End(std::map<uint64_t, Lease>::iterator lease) {
  std::vector<uint64_t> entries = std::move(lease->second.entries);
  const auto held = held_by_.find(lease->second.tenant);
  if (--held->second == 0) held_by_.erase(held);
  by_deadline_.erase({lease->second.deadline, lease->first});
  leases_.erase(lease);
  return entries;
}

size_t LeaseTable::HeldBy(const std::string& tenant) const {
  const auto held = held_by_.find(tenant);
  return held == held_by_.end() ? 0 : held->second;
}

std::vector<uint64_t> LeaseTable::Expire(absl::Time now) {
  std::vector<uint64_t> entries;
  while (!by_deadline_.empty() && by_deadline_.begin()->first <= now) {
    const std::vector<uint64_t> given_back = End(leases_.find(by_deadline_.begin()->second));
    entries.insert(entries.end(), given_back.begin(), given_back.end());
  }
  return entries;
}

}  // namespace decant
