// Least recently used first.
#ifndef DECANT_COMMON_STORE_LRU_H_
#define DECANT_COMMON_STORE_LRU_H_

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "common/store/eviction.h"
#include "common/store/priority_levels.h"

namespace decant {

class LruEviction final : public EvictionPolicy {
 public:
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
    int32_t priority = kDefaultPriority;
    bool held = false;
  };
  template <typename Change>
  void Move(uint64_t entry, Change change);

  absl::flat_hash_map<uint64_t, Node> nodes_;
  PriorityLevels<absl::btree_set<EvictionOrder>> queues_;  // of nodes that are not held
};

}  // namespace decant

#endif  // DECANT_COMMON_STORE_LRU_H_
