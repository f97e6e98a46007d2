// Degrade before evict: which stored chunks are re-encoded to the next cheaper form, and which go.
//
// Every step frees bytes and loses value. The value of an entry is the rate at which it is expected to be used
// (ReuseModel) times the probability that the request accepts its form (FloorPrior: the floors of past requests for the
// chunk, filled up by those of all). Re-encoding loses the share of requests that accept the form it has and not the
// next; eviction loses all. The step that loses least per byte freed is next. So what requests never asked for is given
// up first, and of a chunk whose requests accept less it costs nothing; a form that nobody who comes would take is
// evicted rather than kept; and a chunk goes while it could still be re-encoded only when that would spoil it.
// Retention stands before all this: a chunk is neither re-encoded nor evicted while one of lower priority can be.
//
// A Ladder is also an eviction policy: Evict answers when room is needed at once. It decides and never encodes:
// whoever executes Plan says with Moved, Waits, Stays or Forget how each step ended. Nothing ever climbs: a form comes
// from a better one or is published anew.
//
// What is known of departed chunks - uses and floors - is remembered for as many as there are entries, so that a chunk
// that comes back is no stranger and the reuse model sees what eviction missed.
#ifndef DECANT_COMMON_STORE_LADDER_H_
#define DECANT_COMMON_STORE_LADDER_H_

#include <deque>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "common/store/eviction.h"
#include "common/store/floors.h"
#include "common/store/priority_levels.h"
#include "common/store/reuse.h"

namespace decant {

struct LadderOptions {
  double prior_weight = 0.25;  // of all requests' floors against those for one chunk, in requests
  uint64_t learn_every = 128;  // operations
};

struct LadderStep {
  static constexpr size_t kEvict = kMostRungs;

  uint64_t entry = 0;
  uint32_t scale = 0;
  size_t from = 0;    // rung
  size_t to = 0;      // rung, or kEvict
  int64_t frees = 0;  // bytes; of a re-encoding as the rungs' shares have it
  double loss = 0;    // expected uses per operation that are given up
};

class Ladder final : public EvictionPolicy {
 public:
  explicit Ladder(const LadderOptions& options = {}) : options_(options) {}

  // The forms of one model, as RungsOf has them; a number for Describe. REQUIRES: 1 to kMostRungs rungs.
  uint32_t AddScale(std::vector<Rung> rungs);
  absl::Span<const Rung> rungs(uint32_t scale) const { return scales_[scale].rungs; }

  // The entry is complete: of this model, at this rung, with so many bytes to free. Entries that were never described
  // can only be evicted. Unknown ones are ignored, here and below.
  void Describe(uint64_t entry, uint32_t scale, size_t rung, int64_t bytes);

  // Steps that free `bytes` in sum, in the order to take them, at most `most`; fewer when nothing else that `admits`
  // lets go can be freed. Planned entries are in no later plan, and never victims, until Moved, Waits, Stays or Forget.
  std::vector<LadderStep> Plan(int64_t bytes, size_t most, Admits admits);
  // The step that re-encodes this entry to that rung, planned now, because somebody wants it so. None when it was never
  // described, is planned already, could not be re-encoded before, or has no better form than that.
  std::optional<LadderStep> PlanOne(uint64_t entry, size_t rung);
  // The rung it stands at; none when it was never described.
  std::optional<std::pair<uint32_t, size_t>> RungOf(uint64_t entry) const;  // scale, rung
  // A planned entry is re-encoded and has `bytes` now.
  void Moved(uint64_t entry, size_t rung, int64_t bytes);
  // A planned entry was not re-encoded now: it is a candidate again.
  void Waits(uint64_t entry);
  // A planned entry could not be re-encoded: from now on it can only be evicted.
  void Stays(uint64_t entry);

  void Track(uint64_t entry, const EvictionFacts& facts) override;
  void Touch(uint64_t entry, const EntryUse& use) override;
  void Hold(uint64_t entry) override;
  void LetGo(uint64_t entry) override;
  void SetPriority(uint64_t entry, int32_t priority) override;
  void Forget(uint64_t entry) override;
  std::optional<uint64_t> Evict(Admits admits) override;

  size_t remembered() const { return ghosts_.size(); }

 private:
  // What outlives an entry.
  struct History {
    uint64_t last_use = 0;
    uint32_t uses = 0;
    uint8_t family = 0;
    FloorCounts floors;
  };
  struct Node {
    EvictionOrder order;
    int32_t priority = kDefaultPriority;
    History history;
    uint64_t key = 0;
    int64_t bytes = 1;
    std::optional<double> floor;  // of the request that brought it, should one have, until it is described
    uint32_t scale = 0;
    uint8_t rung = 0;
    bool described = false;
    bool stuck = false;
    bool held = false;
    bool planned = false;
    bool queued() const { return !held && !planned; }
  };
  // Entries alike in all that their value depends on but their age wait in one queue, so only its first counts. Their
  // evidence is alike when the same floors were seen.
  using QueueKey = std::tuple<uint32_t, uint8_t, uint8_t, uint8_t, bool, bool>;
  using Queue = absl::btree_set<EvictionOrder>;
  using Queues = std::map<QueueKey, Queue>;  // none is empty
  struct Scale {
    std::vector<Rung> rungs;
    FloorPrior prior;
  };

  static QueueKey KeyOf(const Node& node);
  template <typename Change>
  void Move(uint64_t entry, Change change);
  void Enqueue(const Node& node) { queues_[node.priority][KeyOf(node)].insert(node.order); }
  void Dequeue(const Node& node);
  double Value(const Node& node, size_t rung) const;
  LadderStep Eviction(const Node& node) const;
  LadderStep StepTo(const Node& node, size_t rung) const;  // REQUIRES: a later rung of its scale
  LadderStep Cheapest(const Node& node) const;
  template <typename StepOf>
  std::optional<LadderStep> Best(Admits admits, StepOf step_of) const;
  void NoteFloor(Node& node, double floor);
  void Remember(uint64_t key, const History& history);
  void Tick(uint64_t operation);

  const LadderOptions options_;
  std::vector<Scale> scales_;
  ReuseModel reuse_;
  uint64_t now_ = 0;
  uint64_t learned_ = 0;
  absl::flat_hash_map<uint64_t, Node> nodes_;
  PriorityLevels<Queues> queues_;
  absl::flat_hash_map<uint64_t, History> ghosts_;          // by key
  std::deque<std::pair<uint64_t, uint64_t>> ghost_order_;  // (key, last use), oldest departure first
};

}  // namespace decant

#endif  // DECANT_COMMON_STORE_LADDER_H_
