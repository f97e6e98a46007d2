// Loads that wait for a reader: the most urgent one first. Not thread-safe, knows no clock.
#ifndef DECANT_SERVICES_POOL_TIERS_LOAD_QUEUE_H_
#define DECANT_SERVICES_POOL_TIERS_LOAD_QUEUE_H_

#include <cstdint>
#include <optional>
#include <set>
#include <tuple>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"

namespace decant {

// By priority, then deadline, then age. Full, it keeps the more urgent ones.
class LoadQueue {
 public:
  explicit LoadQueue(size_t most) : most_(most) {}

  // Adds a load; an id that waits already becomes the more urgent of both. Returns the load that has no place any more
  // (it may be this one).
  std::optional<uint64_t> Push(uint64_t id, int priority, absl::Time deadline) {
    const auto found = waiting_.find(id);
    Order order{-priority, deadline, id};
    if (found != waiting_.end()) {
      if (order < found->second) Move(found->second, order);
      return std::nullopt;
    }
    order_.insert(order);
    waiting_.emplace(id, order);
    if (order_.size() <= most_) return std::nullopt;
    const uint64_t last = std::get<2>(*order_.rbegin());
    Remove(last);
    return last;
  }

  std::optional<uint64_t> Pop() {
    if (order_.empty()) return std::nullopt;
    const uint64_t first = std::get<2>(*order_.begin());
    Remove(first);
    return first;
  }

  void Remove(uint64_t id) {
    const auto found = waiting_.find(id);
    if (found == waiting_.end()) return;
    order_.erase(found->second);
    waiting_.erase(found);
  }

  bool contains(uint64_t id) const { return waiting_.contains(id); }
  bool empty() const { return order_.empty(); }
  size_t size() const { return order_.size(); }

 private:
  using Order = std::tuple<int, absl::Time, uint64_t>;

  void Move(Order& from, const Order& to) {
    order_.erase(from);
    order_.insert(to);
    from = to;
  }

  const size_t most_;
  std::set<Order> order_;
  absl::flat_hash_map<uint64_t, Order> waiting_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_POOL_TIERS_LOAD_QUEUE_H_
