// Retention: how long and how firmly entries should stay, as a wish and never as a right.
//
// A priority from 0 to 100 orders eviction before everything else (EvictionPolicy::SetPriority); what nobody spoke of
// has kDefaultPriority. Above that it counts against the tenant's budget in bytes, and it ends after its duration. Even
// the highest goes when nothing else is left, so that no retention can bring a store to a halt.
#ifndef DECANT_COMMON_STORE_RETENTION_H_
#define DECANT_COMMON_STORE_RETENTION_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/store/eviction.h"

namespace decant {

// What became of a wish.
struct RetentionReceipt {
  int32_t priority = kDefaultPriority;
  absl::Time until = absl::InfiniteFuture();
  std::string clamped;  // why it is less than was wished; empty when it is not
};

// Not thread-safe.
class Retention {
 public:
  explicit Retention(absl::Duration longest) : longest_(longest) {}

  // Sets an entry's priority until now + duration; an earlier wish for it ends. A duration above the longest is cut,
  // and a priority above the default becomes the default when `budget_bytes`, of the tenant, would be exceeded by the
  // entry's `bytes`. INVALID_ARGUMENT for a priority outside [0, 100] or a duration that is not positive.
  absl::StatusOr<RetentionReceipt> Retain(absl::Time now, uint64_t entry, uint32_t tenant, int64_t bytes,
                                          int64_t budget_bytes, int32_t priority, absl::Duration duration);
  // The entry's bytes have changed (the ladder); they may leave the budget exceeded, but nothing is added then.
  void Resize(uint64_t entry, int64_t bytes);
  // The entry is gone or released; true when it was retained.
  bool Forget(uint64_t entry);
  // Ends what is over and returns the entries, whose priority is the default again.
  std::vector<uint64_t> Expire(absl::Time now);

  int64_t retained_bytes(uint32_t tenant) const;
  size_t size() const { return wishes_.size(); }

 private:
  struct Wish {
    uint32_t tenant = 0;
    int64_t bytes = 0;  // that count against the budget: 0 at or below the default priority
    bool counts = false;
    absl::Time until;
  };

  const absl::Duration longest_;
  absl::flat_hash_map<uint64_t, Wish> wishes_;
  std::set<std::pair<absl::Time, uint64_t>> by_end_;
  std::map<uint32_t, int64_t> bytes_;  // per tenant
};

}  // namespace decant

#endif  // DECANT_COMMON_STORE_RETENTION_H_
