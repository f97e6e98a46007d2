// A byte tier: one place behind the host tier that keeps records (common/store/record.h) by name.
//
// A tier keeps bytes and believes nothing: who reads verifies (DecodeRecord), and a record that is not what was asked
// for is a miss. Its capacity is bounded in the bytes it truly uses, and it makes room by itself.
//
// Every call may block on a disk or a network, so it is made from I/O threads, never under the pool's mutex; all calls
// are thread-safe. A tier that can wait for a peer gives up at `deadline`; a disk may overrun it, and the caller's own
// deadline counts.
#ifndef DECANT_COMMON_STORE_TIER_H_
#define DECANT_COMMON_STORE_TIER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/kv/tier.h"
#include "common/store/record.h"

namespace decant {

absl::string_view TierName(Tier tier);  // "device", "host", "disk", "remote"

// Why a record did not come from a tier.
enum class TierMiss : uint8_t {
  kAbsent = 0,       // it was never there, or its room was needed
  kDamaged = 1,      // its bytes are not those that were stored
  kForeign = 2,      // they belong to another key, variant, model or place
  kVersion = 3,      // written by a build this one cannot read
  kStale = 4,        // an older record of the same name
  kUnavailable = 5,  // the tier does not answer
  kLate = 6,         // not before the deadline
  kOverload = 7,     // too much was asked for at once
};
inline constexpr int kTierMisses = 8;
absl::string_view TierMissName(TierMiss miss);  // "absent", ... : a closed set for metrics and Explain
// The reason in a status of ByteTier::Get or DecodeRecord. REQUIRES: !status.ok().
TierMiss MissOf(const absl::Status& status);
// The bytes are wrong, so that they must not stay.
inline bool IsWrongBytes(TierMiss miss) { return miss >= TierMiss::kDamaged && miss <= TierMiss::kStale; }

// Now, but for `evicted`, which is a sum.
struct TierUse {
  int64_t bytes = 0;           // what the tier truly occupies, its own overhead included; an upper bound where it moves
  int64_t capacity_bytes = 0;  // never exceeded; 0 when another process bounds it
  int64_t records = 0;
  int64_t evicted = 0;
  bool answers = true;  // false while calls end at once because it failed
};

class ByteTier {
 public:
  virtual ~ByteTier() = default;
  virtual Tier tier() const = 0;

  // Stores `record` in place of whatever had its name. OK means committed: from now on a reader gets all of it, and
  // what the tier survives (a killed process for a disk) it survives too. Otherwise nothing or the former record is
  // there. RESOURCE_EXHAUSTED when it can't be given room (larger than the tier takes, disk full), UNAVAILABLE when the
  // tier does not answer, DEADLINE_EXCEEDED.
  virtual absl::Status Put(const RecordId& id, absl::string_view record, absl::Time deadline) = 0;
  // The bytes as the tier has them, not to be trusted. NOT_FOUND when it has none; DATA_LOSS when the tier itself sees
  // that they are damaged; UNAVAILABLE, DEADLINE_EXCEEDED.
  virtual absl::StatusOr<std::string> Get(const RecordId& id, absl::Time deadline) = 0;
  // OK also when there was nothing.
  virtual absl::Status Erase(const RecordId& id, absl::Time deadline) = 0;
  virtual absl::StatusOr<bool> Contains(const RecordId& id, absl::Time deadline) = 0;

  // Names evicted to make room since the last call; a tier that can't know gives none.
  virtual std::vector<RecordName> TakeForgotten() = 0;
  virtual TierUse use() const = 0;
};

}  // namespace decant

#endif  // DECANT_COMMON_STORE_TIER_H_
