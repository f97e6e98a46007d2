#include "common/store/steps.h"

#include <algorithm>

#include "common/base/check.h"

namespace decant {

// Takes the node out of its place, changes it, and puts it where it then belongs.
template <typename Change>
void StepsEviction::Move(uint64_t entry, Change change) {
  const auto found = nodes_.find(entry);
  if (found == nodes_.end()) return;
  Node& node = found->second;
  if (!node.held) queues_[node.priority].erase(Place{node.steps, node.order});
  change(node);
  if (!node.held) queues_[node.priority].insert(Place{node.steps, node.order});
}

void StepsEviction::SetSteps(uint64_t entry, int32_t steps) {
  Move(entry, [steps](Node& node) { node.steps = steps; });
}

void StepsEviction::Track(uint64_t entry, const EvictionFacts& facts) {
  Node node;
  node.order = EvictionOrder{facts.depth, facts.use.operation, entry};
  const bool is_new = nodes_.emplace(entry, node).second;
  DECANT_CHECK(is_new);
  queues_[node.priority].insert(Place{node.steps, node.order});
}

void StepsEviction::Touch(uint64_t entry, const EntryUse& use) {
  Move(entry, [&use](Node& node) { node.order.use = std::max(node.order.use, use.operation); });
}

void StepsEviction::Hold(uint64_t entry) {
  Move(entry, [](Node& node) { node.held = true; });
}

void StepsEviction::LetGo(uint64_t entry) {
  Move(entry, [](Node& node) { node.held = false; });
}

void StepsEviction::SetPriority(uint64_t entry, int32_t priority) {
  Move(entry, [priority](Node& node) { node.priority = priority; });
}

void StepsEviction::Forget(uint64_t entry) {
  Hold(entry);  // out of the queue
  nodes_.erase(entry);
}

std::optional<uint64_t> StepsEviction::Evict(Admits admits) {
  const auto victim = queues_.First([&](const absl::btree_set<Place>& queue) {
    const auto first =
        std::find_if(queue.begin(), queue.end(), [&](const Place& place) { return admits(place.order.entry); });
    return first == queue.end() ? std::optional<uint64_t>() : first->order.entry;
  });
  if (victim.has_value()) Forget(*victim);
  return victim;
}

}  // namespace decant
