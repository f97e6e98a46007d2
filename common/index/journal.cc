#include "common/index/journal.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace decant {

uint64_t Journal::Append(ChunkEvent event) {
  Events& mine = events_[event.tenant];
  event.sequence = ++mine.head;
  ++appended_;
  mine.kept.push_back(event);
  ++kept_;
  if (mine.kept.size() > of_tenant_) DropOldest(mine, 1);
  if (kept_ > of_all_) {
    const auto most = std::max_element(events_.begin(), events_.end(), [](const auto& a, const auto& b) {
      return a.second.kept.size() < b.second.kept.size();
    });
    // Half of it, so that looking for it is worth while.
    DropOldest(most->second, (most->second.kept.size() + 1) / 2);
  }
  return mine.head;
}

void Journal::DropOldest(Events& events, size_t count) {
  events.kept.erase(events.kept.begin(), events.kept.begin() + static_cast<std::ptrdiff_t>(count));
  kept_ -= count;
}

uint64_t Journal::head(uint32_t tenant) const {
  const auto found = events_.find(tenant);
  return found == events_.end() ? 0 : found->second.head;
}

absl::StatusOr<std::vector<ChunkEvent>> Journal::After(uint64_t sequence, uint32_t tenant, size_t most) const {
  static const Events& none = *new Events;
  const auto found = events_.find(tenant);
  const Events& mine = found == events_.end() ? none : found->second;
  const uint64_t gone = mine.head - mine.kept.size();  // the newest number that is no longer kept
  if (sequence > mine.head || sequence < gone) {
    return absl::OutOfRangeError(
        absl::StrCat("events after ", sequence, " are not kept (there are ", gone + 1, " to ", mine.head, "); resync"));
  }
  const auto first = mine.kept.begin() + static_cast<std::ptrdiff_t>(sequence - gone);
  const size_t count = std::min(most, static_cast<size_t>(mine.kept.end() - first));
  return std::vector<ChunkEvent>(first, first + static_cast<std::ptrdiff_t>(count));
}

}  // namespace decant
