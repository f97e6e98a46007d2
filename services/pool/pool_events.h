// What a follower of the pool's events is given.
#ifndef DECANT_SERVICES_POOL_POOL_EVENTS_H_
#define DECANT_SERVICES_POOL_POOL_EVENTS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/index/chunk_index.h"
#include "common/index/journal.h"

namespace decant {

// Where a follower stands; it keeps it between calls.
struct EventCursor {
  std::string tenant;
  bool snapshot = true;           // still being read
  std::optional<uint64_t> after;  // the last event seen; in a snapshot, the newest when it began
  VariantId scan = 0;             // of the snapshot
};

struct EventPage {
  bool snapshot = false;
  bool complete = false;           // the last page of a snapshot
  std::vector<ChunkEvent> events;  // of a snapshot: kStored, without numbers
  bool more = false;               // another page can be had at once
};

}  // namespace decant

#endif  // DECANT_SERVICES_POOL_POOL_EVENTS_H_
