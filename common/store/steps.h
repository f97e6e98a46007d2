// Workflow-aware eviction (KVFlow, arXiv 2507.07400): what will be needed latest goes first.
//
// Whoever knows the workflows (common/policy/workflow.h) says for an entry how many steps remain until an agent that
// uses it runs. What no workflow names is expected never, and goes before everything that is; among entries expected at
// the same step the least recently used goes first. So an empty or wrong graph leaves plain LRU.
#ifndef DECANT_COMMON_STORE_STEPS_H_
#define DECANT_COMMON_STORE_STEPS_H_

#include <limits>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "common/store/eviction.h"
#include "common/store/priority_levels.h"

namespace decant {

inline constexpr int32_t kNeverNeeded = std::numeric_limits<int32_t>::max();  // steps of what no workflow names

class StepsEviction final : public EvictionPolicy {
 public:
  // Steps until the entry is needed, 0 = now; unknown entries are ignored.
  void SetSteps(uint64_t entry, int32_t steps);

  void Track(uint64_t entry, const EvictionFacts& facts) override;
  void Touch(uint64_t entry, const EntryUse& use) override;
  void Hold(uint64_t entry) override;
  void LetGo(uint64_t entry) override;
  void SetPriority(uint64_t entry, int32_t priority) override;
  void Forget(uint64_t entry) override;
  std::optional<uint64_t> Evict(Admits admits) override;

 private:
  struct Node {
    EvictionOrder order;
    int32_t steps = kNeverNeeded;
    int32_t priority = kDefaultPriority;
    bool held = false;
  };
  struct Place {
    int32_t steps;
    EvictionOrder order;
    friend bool operator<(const Place& a, const Place& b) {
      return a.steps != b.steps ? a.steps > b.steps : a.order < b.order;
    }
  };
  template <typename Change>
  void Move(uint64_t entry, Change change);

  absl::flat_hash_map<uint64_t, Node> nodes_;
  PriorityLevels<absl::btree_set<Place>> queues_;  // of nodes that are not held
};

}  // namespace decant

#endif  // DECANT_COMMON_STORE_STEPS_H_
