#include "common/index/journal.h"

#include "absl/strings/str_cat.h"

namespace decant {

uint64_t Journal::Append(ChunkEvent event) {
  event.sequence = ++head_;
  events_.push_back(event);
  if (events_.size() > limit_) events_.pop_front();
  return head_;
}

absl::StatusOr<std::vector<ChunkEvent>> Journal::After(uint64_t sequence, uint32_t tenant, size_t most,
                                                       uint64_t* seen) const {
  const uint64_t gone = head_ - events_.size();  // the newest number that is no longer kept
  if (sequence > head_ || sequence < gone) {
    return absl::OutOfRangeError(
        absl::StrCat("events after ", sequence, " are not kept (there are ", gone + 1, " to ", head_, "); resync"));
  }
  std::vector<ChunkEvent> events;
  *seen = sequence;
  for (size_t i = sequence - gone; i < events_.size() && events.size() < most; ++i) {
    *seen = events_[i].sequence;
    if (events_[i].tenant == tenant) events.push_back(events_[i]);
  }
  return events;
}

}  // namespace decant
