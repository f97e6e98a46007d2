#include "common/store/lru.h"

#include <algorithm>

#include "common/base/check.h"

namespace decant {

// Takes the node out of its place, changes it, and puts it where it then belongs.
template <typename Change>
void LruEviction::Move(uint64_t entry, Change change) {
  const auto found = nodes_.find(entry);
  if (found == nodes_.end()) return;
  Node& node = found->second;
  if (!node.held) queues_[node.priority].erase(node.order);
  change(node);
  if (!node.held) queues_[node.priority].insert(node.order);
}

void LruEviction::Track(uint64_t entry, const EvictionFacts& facts) {
  Node node;
  node.order = EvictionOrder{facts.depth, facts.use.operation, entry};
  const bool is_new = nodes_.emplace(entry, node).second;
  DECANT_CHECK(is_new);
  queues_[node.priority].insert(node.order);
}

void LruEviction::Touch(uint64_t entry, const EntryUse& use) {
  Move(entry, [&use](Node& node) { node.order.use = std::max(node.order.use, use.operation); });
}

void LruEviction::Hold(uint64_t entry) {
  Move(entry, [](Node& node) { node.held = true; });
}

void LruEviction::LetGo(uint64_t entry) {
  Move(entry, [](Node& node) { node.held = false; });
}

void LruEviction::SetPriority(uint64_t entry, int32_t priority) {
  Move(entry, [priority](Node& node) { node.priority = priority; });
}

void LruEviction::Forget(uint64_t entry) {
  Hold(entry);  // out of the queue
  nodes_.erase(entry);
}

std::optional<uint64_t> LruEviction::Evict(Admits admits) {
  const auto victim = queues_.First([&](const absl::btree_set<EvictionOrder>& queue) {
    const auto first =
        std::find_if(queue.begin(), queue.end(), [&](const EvictionOrder& order) { return admits(order.entry); });
    return first == queue.end() ? std::optional<uint64_t>() : first->entry;
  });
  if (victim.has_value()) Forget(*victim);
  return victim;
}

}  // namespace decant
