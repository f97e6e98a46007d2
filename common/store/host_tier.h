// The host tier: chunk variants in memory, each a set of frames, one blob per layer range.
//
// An entry is staged until every layer has arrived, then committed and readable. Its charge is its true bytes: blobs,
// their overhead, and the entry with its place in the index. The sum of charges never exceeds the capacity.
//
// Room is made by forgetting the least recently used entry first and, of entries used by the same operation, the one
// deepest in its prompt. Every lookup runs from token 0 and uses all it passes, so a chunk is never forgotten before
// those behind it. Held entries (leases) are never forgotten, and a newcomer never displaces what its own operation
// used at the same depth or nearer to token 0.
//
// Time is the count of operations. Not thread-safe.
#ifndef DECANT_COMMON_STORE_HOST_TIER_H_
#define DECANT_COMMON_STORE_HOST_TIER_H_

#include <cstdint>
#include <set>
#include <tuple>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/store/blob.h"

namespace decant {

struct LayerBlob {
  int32_t first_layer = 0;
  int32_t layers = 0;
  Blob blob;
};

class HostTier {
 public:
  // What glibc's allocator and the shared count add to a blob, and what an entry costs besides its frames: its maps'
  // nodes and the receipt that the index keeps.
  static constexpr int64_t kBlobOverheadBytes = 48 + static_cast<int64_t>(sizeof(LayerBlob));
  static constexpr int64_t kEntryOverheadBytes = 768;

  explicit HostTier(int64_t capacity_bytes) : capacity_bytes_(capacity_bytes) {}

  // Opens an entry for a chunk that starts at token `depth`, used by operation `use`. INVALID_ARGUMENT unless
  // layers > 0; RESOURCE_EXHAUSTED when what could make room is held or newer.
  absl::StatusOr<uint64_t> Stage(int32_t layers, int32_t depth, uint64_t use);
  // Adds a frame. NOT_FOUND when the entry is gone (it may have been displaced), ALREADY_EXISTS when one of its layers
  // is there, INVALID_ARGUMENT for layers outside the model, FAILED_PRECONDITION after Commit, RESOURCE_EXHAUSTED as
  // Stage. The entry stays as it was.
  absl::Status Add(uint64_t entry, LayerBlob frame);
  // Every layer is there.
  bool Complete(uint64_t entry) const;
  // Makes a complete entry readable. FAILED_PRECONDITION when layers are missing, NOT_FOUND when it is gone.
  absl::Status Commit(uint64_t entry);
  // Frames by ascending layer, valid until the next change; empty unless committed.
  absl::Span<const LayerBlob> Frames(uint64_t entry) const;
  // Bytes of the entry's frames alone.
  int64_t FrameBytes(uint64_t entry) const;

  // Marks the entry as used by operation `use`; operations only grow.
  void Use(uint64_t entry, uint64_t use);
  // While held, counted, an entry is not forgotten. Unknown entries are ignored by all three.
  void Hold(uint64_t entry);
  void LetGo(uint64_t entry);
  void Drop(uint64_t entry);

  // Entries forgotten to make room since the last call, in order.
  std::vector<uint64_t> TakeForgotten();

  int64_t bytes() const { return bytes_; }  // the sum of charges
  int64_t capacity_bytes() const { return capacity_bytes_; }
  int64_t held_bytes() const { return held_bytes_; }
  size_t entries() const { return entries_.size(); }
  // The charges added up anew: equals bytes() unless this class is wrong.
  int64_t SumBytes() const;

 private:
  // Least recently used first, then deepest, then oldest.
  using Order = std::tuple<uint64_t, int32_t, uint64_t>;
  struct Entry {
    std::vector<LayerBlob> frames;  // ascending layers
    int32_t layers = 0;
    int32_t covered = 0;  // layers that have arrived
    int32_t depth = 0;
    int32_t holds = 0;
    uint64_t use = 0;
    int64_t charge = 0;
    bool committed = false;
  };

  static Order OrderOf(uint64_t id, const Entry& entry) { return {entry.use, -entry.depth, id}; }
  absl::Status MakeRoom(int64_t bytes, uint64_t use, int32_t depth);
  void Forget(uint64_t id);

  const int64_t capacity_bytes_;
  int64_t bytes_ = 0;
  int64_t held_bytes_ = 0;
  uint64_t last_id_ = 0;
  absl::flat_hash_map<uint64_t, Entry> entries_;
  std::set<Order> free_;  // entries nobody holds
  std::vector<uint64_t> forgotten_;
};

}  // namespace decant

#endif  // DECANT_COMMON_STORE_HOST_TIER_H_
