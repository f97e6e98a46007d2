// What happened to stored chunks, for those who keep an index of their own: a bounded list with sequence numbers.
//
// A reader asks for what follows the last number it saw. One that fell behind what is kept is told so and takes a
// snapshot: it notes head(), reads all pages of ChunkIndex::Scan, and goes on from the number noted. Every event is
// idempotent for its (key, variant), so that what both the snapshot and the events say does no harm.
//
// An event names keys, never tokens, and belongs to one tenant: only that tenant may be shown it.
#ifndef DECANT_COMMON_INDEX_JOURNAL_H_
#define DECANT_COMMON_INDEX_JOURNAL_H_

#include <cstdint>
#include <deque>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/digest.h"
#include "common/kv/tier.h"

namespace decant {

enum class ChunkEventKind : uint8_t {
  kUnspecified = 0,
  kStored = 1,   // readable in `tier`
  kRemoved = 2,  // no longer there
  kMoved = 3,    // to another tier or, re-encoded, another form: `variant` is gone and `becomes` stands for it
};

struct ChunkEvent {
  uint64_t sequence = 0;  // from 1, without gaps
  ChunkEventKind kind = ChunkEventKind::kUnspecified;
  Tier tier = Tier::kHost;
  uint32_t tenant = 0;
  int32_t first_token = 0;
  int32_t tokens = 0;
  Digest key;
  Digest parent;
  Digest variant;  // VariantDigest
  Digest becomes;  // of kMoved
};

// Not thread-safe.
class Journal {
 public:
  explicit Journal(size_t limit) : limit_(limit) {}

  // Numbers the event and appends it; the oldest one goes when there are more than the limit.
  uint64_t Append(ChunkEvent event);
  // Up to `most` events of the tenant after `sequence`, oldest first. `*seen` is then the number to ask with next: it
  // passes over other tenants' events. OUT_OF_RANGE when events after `sequence` are gone already, or it was never
  // given out (by this process): resync.
  absl::StatusOr<std::vector<ChunkEvent>> After(uint64_t sequence, uint32_t tenant, size_t most, uint64_t* seen) const;

  uint64_t head() const { return head_; }  // the number of the newest event, 0 before the first

 private:
  const size_t limit_;
  uint64_t head_ = 0;
  std::deque<ChunkEvent> events_;  // consecutive, the last one is head_
};

}  // namespace decant

#endif  // DECANT_COMMON_INDEX_JOURNAL_H_
