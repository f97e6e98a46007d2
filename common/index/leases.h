// Leases: the right to read stored entries until a deadline.
#ifndef DECANT_COMMON_INDEX_LEASES_H_
#define DECANT_COMMON_INDEX_LEASES_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace decant {

struct Lease {
  uint64_t id = 0;  // never 0
  std::string tenant;
  std::vector<uint64_t> entries;
  absl::Time deadline;
  absl::Time last;  // no renewal moves the deadline past it
};

// Who holds what until when. It pins nothing itself: the owner pins entries when it grants a lease and lets go of those
// that Release and Expire give back, each exactly once. Not thread-safe.
class LeaseTable {
 public:
  // Numbers are SHA-256 of `secret` and a count: who does not know it learns nothing from its own of those of others.
  explicit LeaseTable(size_t limit, std::string secret = "") : limit_(limit), secret_(std::move(secret)) {}

  // RESOURCE_EXHAUSTED when the tenant holds `limit` leases. Heartbeats keep the lease until `last`, so that no reader
  // can hold entries for ever.
  absl::StatusOr<uint64_t> Grant(std::string tenant, std::vector<uint64_t> entries, absl::Time deadline,
                                 absl::Time last = absl::InfiniteFuture());
  // The lease, valid until the next call that ends one. NOT_FOUND when it is unknown, ended, past its deadline or
  // another tenant's.
  absl::StatusOr<const Lease*> Find(uint64_t id, const std::string& tenant, absl::Time now) const;
  // A heartbeat: moves the deadline, but not past the last; it never comes nearer. Errors as Find.
  absl::Status Renew(uint64_t id, const std::string& tenant, absl::Time now, absl::Time deadline);
  // Ends a lease and gives its entries back; none when the tenant has no such lease.
  std::vector<uint64_t> Release(uint64_t id, const std::string& tenant);
  // Ends every lease whose deadline is at or before `now` and gives their entries back.
  std::vector<uint64_t> Expire(absl::Time now);

  size_t held() const { return leases_.size(); }
  size_t HeldBy(const std::string& tenant) const;

 private:
  std::vector<uint64_t> End(std::map<uint64_t, Lease>::iterator lease);

  const size_t limit_;
  const std::string secret_;
  uint64_t granted_ = 0;
  std::map<uint64_t, Lease> leases_;
  std::set<std::pair<absl::Time, uint64_t>> by_deadline_;
  std::map<std::string, size_t> held_by_;  // tenant
};

}  // namespace decant

#endif  // DECANT_COMMON_INDEX_LEASES_H_
