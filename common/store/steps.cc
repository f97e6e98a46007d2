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
  if (!node.held) queue_.erase(Place{node.steps, node.order});
  change(node);
  if (!node.held) queue_.insert(Place{node.steps, node.order});
}

void StepsEviction::SetSteps(uint64_t entry, int32_t steps) {
  Move(entry, [steps](Node& node) { node.steps = steps; });
}

void StepsEviction::Track(uint64_t entry, const EvictionFacts& facts) {
  const Node node{EvictionOrder{kDefaultPriority, facts.depth, facts.use.operation, entry}, kNeverNeeded, false};
  const bool is_new = nodes_.emplace(entry, node).second;
  DECANT_CHECK(is_new);
  queue_.insert(Place{node.steps, node.order});
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
  Move(entry, [priority](Node& node) { node.order.priority = priority; });
}

void StepsEviction::Forget(uint64_t entry) {
  Hold(entry);  // out of the queue
  nodes_.erase(entry);
}

std::optional<uint64_t> StepsEviction::Evict(Admits admits) {
  const auto victim =
      std::find_if(queue_.begin(), queue_.end(), [&](const Place& place) { return admits(place.order.entry); });
  if (victim == queue_.end()) return std::nullopt;
  const uint64_t entry = victim->order.entry;
  Forget(entry);
  return entry;
}

}  // namespace decant
