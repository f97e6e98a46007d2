// Invariants: a node is in exactly one queue unless it is held or planned; the reuse model waits for every node and
// every ghost, each in its family since its last use.
#include "common/store/ladder.h"

#include <algorithm>
#include <cmath>

#include "common/base/check.h"

namespace decant {
namespace {

constexpr size_t kFewestGhosts = 64;

double LossPerByte(const LadderStep& step) { return step.loss / static_cast<double>(std::max<int64_t>(1, step.frees)); }

}  // namespace

uint32_t Ladder::AddScale(std::vector<Rung> rungs) {
  DECANT_CHECK(!rungs.empty() && rungs.size() <= kMostRungs);
  const size_t count = rungs.size();
  scales_.push_back(Scale{std::move(rungs), FloorPrior(count)});
  return static_cast<uint32_t>(scales_.size() - 1);
}

// ---- Queues.

Ladder::QueueKey Ladder::KeyOf(const Node& node) {
  return {node.scale, node.rung, node.history.family, node.history.floors.Seen(), node.described, node.stuck};
}

void Ladder::Dequeue(const Node& node) {
  Queues& queues = queues_[node.priority];
  const auto queue = queues.find(KeyOf(node));
  queue->second.erase(node.order);
  if (queue->second.empty()) queues.erase(queue);
}

// Takes the node out of its queue, changes it, and puts it where it then belongs.
template <typename Change>
void Ladder::Move(uint64_t entry, Change change) {
  const auto found = nodes_.find(entry);
  if (found == nodes_.end()) return;
  Node& node = found->second;
  if (node.queued()) Dequeue(node);
  change(node);
  if (node.queued()) Enqueue(node);
}

// ---- What happens to entries.

void Ladder::Tick(uint64_t operation) {
  now_ = std::max(now_, operation);
  if (now_ - learned_ < options_.learn_every) return;
  learned_ = now_;
  reuse_.Learn(now_);
}

void Ladder::NoteFloor(Node& node, double floor) {
  node.floor = floor;
  if (!node.described) return;
  Scale& scale = scales_[node.scale];
  const size_t last = LastAccepted(scale.rungs, floor);
  node.history.floors.Add(last);
  scale.prior.Add(last);
}

void Ladder::Track(uint64_t entry, const EvictionFacts& facts) {
  Tick(facts.use.operation);
  Node node;
  node.order = EvictionOrder{facts.depth, facts.use.operation, entry};
  node.key = facts.key;
  if (facts.use.counts) node.floor = facts.use.floor;
  if (const auto ghost = ghosts_.find(facts.key); ghost != ghosts_.end()) {
    node.history = ghost->second;
    reuse_.Leave(node.history.family, node.history.last_use, now_, true);
    ghosts_.erase(ghost);
  }
  ++node.history.uses;
  node.history.last_use = facts.use.operation;
  node.history.family = static_cast<uint8_t>(ReuseFamily(node.history.uses, facts.prefix_uses, facts.use));
  reuse_.Enter(node.history.family, node.history.last_use);
  const bool is_new = nodes_.emplace(entry, node).second;
  DECANT_CHECK(is_new);
  Enqueue(node);
}

void Ladder::Describe(uint64_t entry, uint32_t scale, size_t rung, int64_t bytes) {
  DECANT_CHECK(scale < scales_.size() && rung < scales_[scale].rungs.size());
  Move(entry, [&](Node& node) {
    const bool was_described = node.described;
    node.scale = scale;
    node.rung = static_cast<uint8_t>(rung);
    node.bytes = bytes;
    node.described = true;
    if (!was_described && node.floor.has_value()) NoteFloor(node, *node.floor);
  });
}

void Ladder::Touch(uint64_t entry, const EntryUse& use) {
  Tick(use.operation);
  Move(entry, [&](Node& node) {
    if (use.operation <= node.order.use) return;
    History& history = node.history;
    node.order.use = use.operation;
    if (!use.counts) {
      reuse_.Renew(history.family, history.last_use, use.operation);
      history.last_use = use.operation;
      return;
    }
    reuse_.Leave(history.family, history.last_use, use.operation, true);
    ++history.uses;
    history.last_use = use.operation;
    history.family = static_cast<uint8_t>(ReuseFamily(history.uses, 0, use));
    reuse_.Enter(history.family, history.last_use);
    NoteFloor(node, use.floor);
  });
}

void Ladder::Hold(uint64_t entry) {
  Move(entry, [](Node& node) { node.held = true; });
}

void Ladder::LetGo(uint64_t entry) {
  Move(entry, [](Node& node) { node.held = false; });
}

void Ladder::SetPriority(uint64_t entry, int32_t priority) {
  Move(entry, [priority](Node& node) { node.priority = priority; });
}

void Ladder::Forget(uint64_t entry) {
  const auto found = nodes_.find(entry);
  if (found == nodes_.end()) return;
  if (found->second.queued()) Dequeue(found->second);
  Remember(found->second.key, found->second.history);
  nodes_.erase(found);
}

void Ladder::Remember(uint64_t key, const History& history) {
  const auto [ghost, is_new] = ghosts_.try_emplace(key, history);
  if (!is_new) {  // another form of the chunk went before
    reuse_.Leave(ghost->second.family, ghost->second.last_use, now_, false);
    ghost->second = history;
  }
  ghost_order_.emplace_back(key, history.last_use);
  while (ghost_order_.size() > std::max(kFewestGhosts, nodes_.size())) {
    const auto [oldest, last_use] = ghost_order_.front();
    ghost_order_.pop_front();
    const auto found = ghosts_.find(oldest);
    if (found == ghosts_.end() || found->second.last_use != last_use) continue;  // it came back since
    reuse_.Leave(found->second.family, last_use, now_, false);
    ghosts_.erase(found);
  }
}

// ---- Decisions.

// Expected uses per operation of the entry if it stood at `rung`.
double Ladder::Value(const Node& node, size_t rung) const {
  const double uses = reuse_.Index(node.history.family, now_ - std::min(now_, node.order.use));
  if (!node.described) return uses;
  return uses * scales_[node.scale].prior.Accepts(node.history.floors, rung, options_.prior_weight);
}

LadderStep Ladder::Eviction(const Node& node) const {
  return LadderStep{node.order.entry, node.scale, node.rung, LadderStep::kEvict, node.bytes, Value(node, node.rung)};
}

LadderStep Ladder::StepTo(const Node& node, size_t rung) const {
  const std::vector<Rung>& rungs = scales_[node.scale].rungs;
  const double kept = rungs[rung].bytes_share / rungs[node.rung].bytes_share;
  LadderStep step = Eviction(node);
  step.to = rung;
  step.frees = node.bytes - static_cast<int64_t>(std::ceil(static_cast<double>(node.bytes) * kept));
  step.loss -= Value(node, rung);
  return step;
}

// Eviction only when it is strictly cheaper per byte than the next rung.
LadderStep Ladder::Cheapest(const Node& node) const {
  const LadderStep eviction = Eviction(node);
  if (!node.described || node.stuck || size_t{node.rung} + 1 == scales_[node.scale].rungs.size()) return eviction;
  const LadderStep step = StepTo(node, size_t{node.rung} + 1);
  return step.frees > 0 && LossPerByte(step) <= LossPerByte(eviction) ? step : eviction;
}

template <typename StepOf>
std::optional<LadderStep> Ladder::Best(Admits admits, StepOf step_of) const {
  return queues_.First([&](const Queues& queues) {
    std::optional<LadderStep> best;
    for (const auto& [key, queue] : queues) {
      const auto first =
          std::find_if(queue.begin(), queue.end(), [&](const EvictionOrder& order) { return admits(order.entry); });
      if (first == queue.end()) continue;
      const LadderStep step = step_of(nodes_.find(first->entry)->second);
      if (!best.has_value() || LossPerByte(step) < LossPerByte(*best)) best = step;
    }
    return best;
  });
}

std::vector<LadderStep> Ladder::Plan(int64_t bytes, size_t most, Admits admits) {
  std::vector<LadderStep> steps;
  while (bytes > 0 && steps.size() < most) {
    const std::optional<LadderStep> step = Best(admits, [this](const Node& node) { return Cheapest(node); });
    if (!step.has_value()) break;
    Move(step->entry, [](Node& node) { node.planned = true; });
    bytes -= step->frees;
    steps.push_back(*step);
  }
  return steps;
}

std::optional<std::pair<uint32_t, size_t>> Ladder::RungOf(uint64_t entry) const {
  const auto found = nodes_.find(entry);
  if (found == nodes_.end() || !found->second.described) return std::nullopt;
  return std::make_pair(found->second.scale, size_t{found->second.rung});
}

std::optional<LadderStep> Ladder::PlanOne(uint64_t entry, size_t rung) {
  const auto found = nodes_.find(entry);
  if (found == nodes_.end()) return std::nullopt;
  const Node& node = found->second;
  if (!node.described || node.planned || node.stuck || rung <= node.rung) return std::nullopt;
  const LadderStep step = StepTo(node, rung);
  Move(entry, [](Node& changed) { changed.planned = true; });
  return step;
}

void Ladder::Moved(uint64_t entry, size_t rung, int64_t bytes) {
  Move(entry, [&](Node& node) {
    DECANT_CHECK(rung > node.rung && rung < scales_[node.scale].rungs.size());
    node.rung = static_cast<uint8_t>(rung);
    node.bytes = bytes;
    node.planned = false;
  });
}

void Ladder::Waits(uint64_t entry) {
  Move(entry, [](Node& node) { node.planned = false; });
}

void Ladder::Stays(uint64_t entry) {
  Move(entry, [](Node& node) {
    node.planned = false;
    node.stuck = true;
  });
}

std::optional<uint64_t> Ladder::Evict(Admits admits) {
  const std::optional<LadderStep> step = Best(admits, [this](const Node& node) { return Eviction(node); });
  if (!step.has_value()) return std::nullopt;
  Forget(step->entry);
  return step->entry;
}

}  // namespace decant
