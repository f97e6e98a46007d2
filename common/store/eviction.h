// Which entry goes when room is needed: one small interface, several answers.
//
// The owner of the entries tells a policy what happens to them (Track, Touch, Hold, LetGo, Forget) and asks it for one
// victim at a time (Evict). Sizes, capacity and leases stay with the owner; a policy only orders. Within one operation
// every policy lets what lies deeper in its prompt go first: a lookup runs from token 0 and can use nothing behind a
// hole. Time is the count of operations. No policy is thread-safe.
#ifndef DECANT_COMMON_STORE_EVICTION_H_
#define DECANT_COMMON_STORE_EVICTION_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <tuple>

#include "absl/functional/function_ref.h"

namespace decant {

inline constexpr int32_t kDefaultPriority = 35;  // of 0 to 100
inline constexpr int32_t kMostPriority = 100;

// One request's use of an entry; the request that brings an entry uses it too.
struct EntryUse {
  uint64_t operation = 0;
  double floor = 0;    // the fidelity floor of the request
  bool ends = false;   // the chunk is the last of the request's prompt
  bool counts = true;  // false: the same request once more, which renews its recency and teaches nothing
};

struct EvictionFacts {
  uint64_t key = 0;          // Digest::Prefix64 of the chunk's key: how a policy knows it again when it comes back
  int32_t depth = 0;         // token at which the chunk starts in its prompt
  uint32_t prefix_uses = 0;  // requests that have used the deepest stored chunk in front of it; 0 = none is stored
  EntryUse use;              // that brought it
};

class EvictionPolicy {
 public:
  // Whether an entry may go for this newcomer.
  using Admits = absl::FunctionRef<bool(uint64_t entry)>;

  virtual ~EvictionPolicy() = default;

  // A new entry. REQUIRES: `entry` is not tracked.
  virtual void Track(uint64_t entry, const EvictionFacts& facts) = 0;
  // It was used. Operations never go back for a policy: older ones are ignored, and so are unknown entries, here and
  // below.
  virtual void Touch(uint64_t entry, const EntryUse& use) = 0;
  // Between Hold and LetGo an entry keeps its history and is never a victim. Not counted: the owner counts.
  virtual void Hold(uint64_t entry) = 0;
  virtual void LetGo(uint64_t entry) = 0;
  // Retention: of two entries the one of lower priority goes first, whatever the policy thinks of them
  // (PriorityLevels). New ones have kDefaultPriority.
  virtual void SetPriority(uint64_t entry, int32_t priority) = 0;
  // It is gone for a reason of its owner's.
  virtual void Forget(uint64_t entry) = 0;
  // The next victim, forgotten; none when `admits` refuses every entry that is not held. What it refuses keeps its
  // place.
  virtual std::optional<uint64_t> Evict(Admits admits) = 0;
};

enum class EvictionKind : uint8_t { kLru = 0, kS3Fifo = 1 };

// LRU or S3-FIFO; StepsEviction (common/store/steps.h) and Ladder (common/store/ladder.h) have constructors of their
// own, because others talk to them too.
std::unique_ptr<EvictionPolicy> MakeEviction(EvictionKind kind);

// The first to go of a queue is its smallest: oldest operation, then deepest, then oldest entry.
struct EvictionOrder {
  int32_t depth = 0;
  uint64_t use = 0;
  uint64_t entry = 0;

  friend bool operator<(const EvictionOrder& a, const EvictionOrder& b) {
    return std::make_tuple(a.use, -int64_t{a.depth}, a.entry) < std::make_tuple(b.use, -int64_t{b.depth}, b.entry);
  }
};

}  // namespace decant

#endif  // DECANT_COMMON_STORE_EVICTION_H_
