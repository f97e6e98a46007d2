// The host tier: chunk variants in memory, each a set of frames, one blob per layer range.
//
// An entry is staged until every layer has arrived, then committed and readable. Its charge is its true bytes: blobs,
// their overhead, and the entry with its place in the index. The sum of charges never exceeds the capacity, and that of
// a tenant never its quota.
//
// Room is made by forgetting entries. Who gives is TenantTable's answer, and which entry of that tenant its eviction
// policy's; every tenant has one of its own, so that nobody's habits are read from another's evictions. Held entries
// (leases) are never forgotten, and a newcomer never displaces what was used since its operation began, nor what its
// own operation used at the same depth or nearer to token 0: every lookup runs from token 0, so that the front of a
// prompt that does not fit is what is worth having.
//
// Time is the count of operations. Not thread-safe.
#ifndef DECANT_COMMON_STORE_HOST_TIER_H_
#define DECANT_COMMON_STORE_HOST_TIER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/store/blob.h"
#include "common/store/eviction.h"
#include "common/store/tenants.h"

namespace decant {

struct LayerBlob {
  int32_t first_layer = 0;
  int32_t layers = 0;
  Blob blob;
};

// What was forgotten to make room; its frames, when it was readable, go with whoever takes this.
struct ForgottenEntry {
  uint64_t entry = 0;
  std::vector<LayerBlob> frames;
};

class HostTier {
 public:
  // What glibc's allocator and the shared count add to a blob, and what an entry costs besides its frames: its maps'
  // nodes and the receipt that the index keeps.
  static constexpr int64_t kBlobOverheadBytes = 48 + static_cast<int64_t>(sizeof(LayerBlob));
  static constexpr int64_t kEntryOverheadBytes = 768;

  using MakePolicy = std::function<std::unique_ptr<EvictionPolicy>()>;

  // `make_policy` is called once per tenant; LRU when it is not given.
  explicit HostTier(int64_t capacity_bytes, MakePolicy make_policy = nullptr, TenantTable tenants = TenantTable());

  // Opens an entry for a chunk that starts at token `facts.depth`, brought by operation `facts.use`. INVALID_ARGUMENT
  // unless layers > 0; RESOURCE_EXHAUSTED when what could make room is held or newer, or the tenant's quota is full.
  absl::StatusOr<uint64_t> Stage(int32_t layers, const EvictionFacts& facts,
                                 uint32_t tenant = TenantTable::kDefaultTenant);
  absl::StatusOr<uint64_t> Stage(int32_t layers, int32_t depth, uint64_t operation);  // of the default tenant
  // The same for a chunk that comes back from another tier as the entry it was. REQUIRES: the number is NewEntry's, or
  // of an entry that is gone.
  absl::Status StageAs(uint64_t entry, int32_t layers, const EvictionFacts& facts, uint32_t tenant);
  // A number that no other entry has, for what lies in other tiers only.
  uint64_t NewEntry() { return ++last_id_; }
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

  // Puts other frames in the place of a committed entry's: the same KV, re-encoded. They have to cover its layers, and
  // be no larger. NOT_FOUND when it is gone, FAILED_PRECONDITION when it is held (a reader may be half-way) or not
  // committed, INVALID_ARGUMENT for other frames than said. The entry stays as it was.
  absl::Status Replace(uint64_t entry, std::vector<LayerBlob> frames);

  // The entry was used; operations only grow.
  void Use(uint64_t entry, const EntryUse& use);
  void Use(uint64_t entry, uint64_t operation) { Use(entry, EntryUse{operation}); }
  void SetPriority(uint64_t entry, int32_t priority);
  // While held, counted, an entry is not forgotten. Unknown entries are ignored by all three.
  void Hold(uint64_t entry);
  void LetGo(uint64_t entry);
  void Drop(uint64_t entry);

  // Whether a newcomer at `depth` of operation `operation` may displace the entry: it is not held, and was not used
  // since.
  bool MayDisplace(uint64_t entry, int32_t depth, uint64_t operation) const;
  // Entries forgotten to make room since the last call, in order.
  std::vector<ForgottenEntry> TakeForgotten();

  int64_t bytes() const { return bytes_; }  // the sum of charges
  int64_t capacity_bytes() const { return capacity_bytes_; }
  int64_t held_bytes() const { return held_bytes_; }
  int64_t ChargeOf(uint64_t entry) const;  // 0 when it is gone
  uint32_t UsesOf(uint64_t entry) const;   // requests, with the one that brought it; 0 when it is gone
  bool IsHeld(uint64_t entry) const;
  size_t entries() const { return entries_.size(); }
  // The charges added up anew: equals bytes() unless this class is wrong.
  int64_t SumBytes() const;

  TenantTable& tenants() { return tenants_; }
  const TenantTable& tenants() const { return tenants_; }
  // The tenant's policy; made on first use.
  EvictionPolicy& policy(uint32_t tenant) { return *StateOf(tenant).policy; }

 private:
  struct Entry {
    std::vector<LayerBlob> frames;  // ascending layers
    int32_t layers = 0;
    int32_t covered = 0;  // layers that have arrived
    int32_t depth = 0;
    int32_t holds = 0;
    uint32_t tenant = 0;
    bool committed = false;
    uint32_t uses = 1;
    uint64_t use = 0;
    int64_t charge = 0;
  };
  struct TenantState {
    std::unique_ptr<EvictionPolicy> policy;
    absl::btree_set<EvictionOrder> free;  // entries that nobody holds, least recently used first
  };
  // For whom room is made.
  struct Newcomer {
    uint32_t tenant = 0;
    int32_t depth = 0;
    uint64_t use = 0;
    int64_t bytes = 0;
  };

  static EvictionOrder OrderOf(uint64_t id, const Entry& entry) { return {entry.depth, entry.use, id}; }
  static bool Displaces(const Newcomer& newcomer, const EvictionOrder& victim) {
    return victim.use < newcomer.use || (victim.use == newcomer.use && victim.depth > newcomer.depth);
  }
  TenantState& StateOf(uint32_t tenant);
  int64_t Freeable(const TenantState& state, const Newcomer& newcomer, int64_t enough) const;
  bool GivesTo(uint32_t tenant, const Newcomer& newcomer) const;
  bool EvictOne(uint32_t tenant, const Newcomer& newcomer);
  absl::Status MakeRoom(const Newcomer& newcomer);
  void Charge(Entry& entry, int64_t bytes);
  void Remove(uint64_t id);

  const int64_t capacity_bytes_;
  const MakePolicy make_policy_;
  TenantTable tenants_;
  std::vector<TenantState> states_;  // by tenant
  int64_t bytes_ = 0;
  int64_t held_bytes_ = 0;
  uint64_t last_id_ = 0;
  absl::flat_hash_map<uint64_t, Entry> entries_;
  std::vector<ForgottenEntry> forgotten_;
};

}  // namespace decant

#endif  // DECANT_COMMON_STORE_HOST_TIER_H_
