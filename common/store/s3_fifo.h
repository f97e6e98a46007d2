// S3-FIFO (Yang, Zhang, Qiu, Yue, Rashmi: FIFO queues are all you need for cache eviction, SOSP 2023): what is never
// used again passes through a small queue and displaces nothing that is.
//
// A newcomer enters the small queue, or the main one when its key went not long ago. While the small queue holds at
// least a tenth of all entries its oldest one goes, unless it was used more than once since: then it moves to the main
// queue. Else the oldest of the main queue goes, unless it was used: then it goes round again with one use less. Uses
// count up to three; as many keys of departed entries are remembered as the main queue holds. Entries of one priority
// are so among themselves, each priority with two queues of its own. The paper counts objects that are alike, and so
// does this: entries, not bytes.
#ifndef DECANT_COMMON_STORE_S3_FIFO_H_
#define DECANT_COMMON_STORE_S3_FIFO_H_

#include <deque>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "common/store/eviction.h"
#include "common/store/priority_levels.h"

namespace decant {

class S3FifoEviction final : public EvictionPolicy {
 public:
  void Track(uint64_t entry, const EvictionFacts& facts) override;
  void Touch(uint64_t entry, const EntryUse& use) override;
  void Hold(uint64_t entry) override;
  void LetGo(uint64_t entry) override;
  void SetPriority(uint64_t entry, int32_t priority) override;
  void Forget(uint64_t entry) override;
  std::optional<uint64_t> Evict(Admits admits) override;

  size_t in_small() const { return in_small_; }
  size_t in_main() const { return in_main_; }
  size_t remembered() const { return ghosts_.size(); }

 private:
  struct Node {
    EvictionOrder order;  // its use is the operation at which it entered its queue
    uint64_t key = 0;
    int32_t priority = kDefaultPriority;
    uint8_t uses = 0;
    bool in_main = false;
    bool held = false;
  };
  using Queue = absl::btree_set<EvictionOrder>;
  struct Queues {
    Queue small;
    Queue main;
  };

  void Enqueue(const Node& node);
  void Dequeue(const Node& node);
  template <typename Change>
  void Move(uint64_t entry, Change change);
  void Remember(uint64_t key);
  std::optional<uint64_t> EvictFrom(Queues& queues, bool in_main, Admits admits);
  std::optional<uint64_t> EvictOf(Queues& queues, Admits admits);

  absl::flat_hash_map<uint64_t, Node> nodes_;
  PriorityLevels<Queues> queues_;  // of nodes that are not held
  size_t in_small_ = 0;            // of all priorities
  size_t in_main_ = 0;
  uint64_t newest_ = 0;                                    // operation
  absl::flat_hash_map<uint64_t, uint64_t> ghosts_;         // key to its latest number in ghost_order_
  std::deque<std::pair<uint64_t, uint64_t>> ghost_order_;  // (key, number), oldest first
  uint64_t last_ghost_ = 0;
};

}  // namespace decant

#endif  // DECANT_COMMON_STORE_S3_FIFO_H_
