// A held entry leaves its queue and comes back to its old place.
#include "common/store/s3_fifo.h"

#include <algorithm>

#include "common/base/check.h"

namespace decant {
namespace {

constexpr uint8_t kMostUses = 3;
constexpr uint8_t kUsesToStay = 2;  // since it entered the small queue
constexpr size_t kSmallPart = 10;   // the small queue is a tenth

}  // namespace

void S3FifoEviction::Enqueue(const Node& node) {
  Queues& queues = queues_[node.priority];
  (node.in_main ? queues.main : queues.small).insert(node.order);
  ++(node.in_main ? in_main_ : in_small_);
}

void S3FifoEviction::Dequeue(const Node& node) {
  Queues& queues = queues_[node.priority];
  (node.in_main ? queues.main : queues.small).erase(node.order);
  --(node.in_main ? in_main_ : in_small_);
}

// Takes the node out of its queue, changes it, and puts it where it then belongs.
template <typename Change>
void S3FifoEviction::Move(uint64_t entry, Change change) {
  const auto found = nodes_.find(entry);
  if (found == nodes_.end()) return;
  Node& node = found->second;
  if (!node.held) Dequeue(node);
  change(node);
  if (!node.held) Enqueue(node);
}

void S3FifoEviction::Track(uint64_t entry, const EvictionFacts& facts) {
  newest_ = std::max(newest_, facts.use.operation);
  Node node;
  node.order = EvictionOrder{facts.depth, newest_, entry};
  node.key = facts.key;
  node.in_main = ghosts_.erase(facts.key) > 0;
  const bool is_new = nodes_.emplace(entry, node).second;
  DECANT_CHECK(is_new);
  Enqueue(node);
}

void S3FifoEviction::Touch(uint64_t entry, const EntryUse& use) {
  newest_ = std::max(newest_, use.operation);
  const auto found = nodes_.find(entry);
  if (found == nodes_.end() || !use.counts) return;
  found->second.uses = std::min<uint8_t>(kMostUses, static_cast<uint8_t>(found->second.uses + 1));
}

void S3FifoEviction::Hold(uint64_t entry) {
  Move(entry, [](Node& node) { node.held = true; });
}

void S3FifoEviction::LetGo(uint64_t entry) {
  Move(entry, [](Node& node) { node.held = false; });
}

void S3FifoEviction::SetPriority(uint64_t entry, int32_t priority) {
  Move(entry, [priority](Node& node) { node.priority = priority; });
}

void S3FifoEviction::Forget(uint64_t entry) {
  Hold(entry);  // out of its queue
  nodes_.erase(entry);
}

void S3FifoEviction::Remember(uint64_t key) {
  ghosts_[key] = ++last_ghost_;
  ghost_order_.emplace_back(key, last_ghost_);
  const size_t limit = std::max<size_t>(1, in_main_);
  while (ghost_order_.size() > limit) {
    const auto [oldest, number] = ghost_order_.front();
    ghost_order_.pop_front();
    // It may have come back and gone again: then a younger number stands for it.
    if (const auto found = ghosts_.find(oldest); found != ghosts_.end() && found->second == number)
      ghosts_.erase(found);
  }
}

// One pass over a queue. What was used enough moves on first, which may leave nothing that can go.
std::optional<uint64_t> S3FifoEviction::EvictFrom(Queues& queues, bool in_main, Admits admits) {
  Queue& queue = in_main ? queues.main : queues.small;
  for (auto it = queue.begin(); it != queue.end();) {
    const EvictionOrder order = *it;
    if (!admits(order.entry)) {
      ++it;
      continue;
    }
    const Node& node = nodes_.find(order.entry)->second;
    const bool stays = in_main ? node.uses > 0 : node.uses >= kUsesToStay;
    if (!stays) {
      const uint64_t key = node.key;
      Forget(order.entry);
      if (!in_main) Remember(key);
      return order.entry;
    }
    Move(order.entry, [&](Node& moved) {
      moved.uses = static_cast<uint8_t>(in_main ? moved.uses - 1 : 0);
      moved.in_main = true;
      moved.order.use = newest_;
    });
    it = queue.upper_bound(order);
  }
  return std::nullopt;
}

std::optional<uint64_t> S3FifoEviction::EvictOf(Queues& queues, Admits admits) {
  const bool small_first = queues.small.size() * kSmallPart >= queues.small.size() + queues.main.size();
  // Each pass takes one use from everything it meets, so that after one more than all uses something goes.
  for (int pass = 0; pass <= kMostUses; ++pass) {
    if (const auto victim = EvictFrom(queues, !small_first, admits); victim.has_value()) return victim;
    if (const auto victim = EvictFrom(queues, small_first, admits); victim.has_value()) return victim;
  }
  return std::nullopt;
}

std::optional<uint64_t> S3FifoEviction::Evict(Admits admits) {
  return queues_.First([&](Queues& queues) { return EvictOf(queues, admits); });
}

}  // namespace decant
