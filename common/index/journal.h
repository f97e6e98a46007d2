// What happened to stored chunks, for those who keep an index of their own: bounded lists with sequence numbers.
//
// A reader asks for what follows the last number it saw. One that fell behind what is kept is told so and takes a
// snapshot: it notes head(), reads all pages of ChunkIndex::Scan, and goes on from the number noted. Every event is
// idempotent for its (key, variant), so that what both the snapshot and the events say does no harm.
//
// An event names keys, never tokens, and belongs to one tenant. Every tenant has numbers of its own, so that not even
// how much happens to others can be read from them; and what is kept of one is dropped for another's sake only while it
// is the one that keeps most.
#ifndef DECANT_COMMON_INDEX_JOURNAL_H_
#define DECANT_COMMON_INDEX_JOURNAL_H_

#include <cstdint>
#include <deque>
#include <vector>

#include "absl/container/flat_hash_map.h"
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
  uint64_t sequence = 0;  // of its tenant: from 1, without gaps
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
  // Keeps the last `of_tenant` events of every tenant, and of all of them at most `of_all`. REQUIRES: both above 0.
  explicit Journal(size_t of_tenant, size_t of_all = size_t{1} << 20) : of_tenant_(of_tenant), of_all_(of_all) {}

  // Numbers the event and appends it to its tenant's.
  uint64_t Append(ChunkEvent event);
  // Up to `most` events of the tenant after `sequence`, oldest first. OUT_OF_RANGE when events after `sequence` are
  // gone already, or it was never given out (by this process): resync.
  absl::StatusOr<std::vector<ChunkEvent>> After(uint64_t sequence, uint32_t tenant, size_t most) const;

  // The number of the tenant's newest event, 0 before the first.
  uint64_t head(uint32_t tenant) const;
  uint64_t appended() const { return appended_; }  // by all tenants
  size_t kept() const { return kept_; }

 private:
  struct Events {
    uint64_t head = 0;
    std::deque<ChunkEvent> kept;  // consecutive, the last one is head
  };

  void DropOldest(Events& events, size_t count);

  const size_t of_tenant_;
  const size_t of_all_;
  uint64_t appended_ = 0;
  size_t kept_ = 0;
  absl::flat_hash_map<uint32_t, Events> events_;
};

}  // namespace decant

#endif  // DECANT_COMMON_INDEX_JOURNAL_H_
