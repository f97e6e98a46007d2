// The pool's core: which chunks it holds, who may read them, and how a request should get its KV.
//
// A synchronous state machine: time comes in as an argument and must not go back. Not thread-safe: the edge holds one
// mutex around it. Bytes are verified before they come here (PublishRules) and leave as shared blobs, so that neither
// checksums nor copies happen under that mutex.
#ifndef DECANT_SERVICES_POOL_POOL_H_
#define DECANT_SERVICES_POOL_POOL_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/compress/profile.h"
#include "common/index/chunk_index.h"
#include "common/index/leases.h"
#include "common/policy/observations.h"
#include "common/policy/profile_table.h"
#include "common/store/host_tier.h"
#include "common/store/ladder.h"
#include "services/pool/pool_messages.h"
#include "services/pool/publish_rules.h"

namespace decant {

struct PoolLimits {
  int64_t capacity_bytes = int64_t{1} << 30;
  absl::Duration lease = absl::Seconds(30);
  absl::Duration longest_lease = absl::Minutes(10);  // with all its renewals
  absl::Duration publish_idle = absl::Seconds(10);
  size_t leases = 4096;
  size_t publishes = 256;
  double fetch_bits_per_s = 8e9;
  // Forms that chunks may be re-encoded to under pressure, best first; empty: least recently used chunks go instead.
  std::vector<std::string> ladder;
  double ladder_starts = 0.9;  // of the capacity: fuller, and chunks are re-encoded
  double ladder_ends = 0.85;   // until it is this full
};

class Pool {
 public:
  Pool(const PoolLimits& limits, Catalogue catalogue, ProfileTables tables);

  // Prices every pair, profile and {reuse, recompute}, and leases the prefix that the plans use until now + lease.
  // INVALID_ARGUMENT for a demand that makes no sense, an unknown profile, a floor above 1 or a named profile below it;
  // FAILED_PRECONDITION when no profile meets the floor; UNAVAILABLE when every candidate is draining. A full lease
  // table is no error: the plans then recompute.
  absl::StatusOr<PlanOffer> Plan(absl::Time now, const PlanDemand& demand);

  // Opens a publish; chunks that are stored already are known, the others wait for frames. RESOURCE_EXHAUSTED when too
  // many publishes are open. It ends by itself when publish_idle passes without a frame.
  absl::StatusOr<uint64_t> BeginPublish(absl::Time now, std::shared_ptr<const PublishRules> rules);
  // Adds checked frames; a chunk becomes readable with its last layer. A chunk that a wrong or second frame named, or
  // for which there is no room, is refused and its bytes are freed. NOT_FOUND when the publish has ended.
  absl::Status AddFrames(absl::Time now, uint64_t publish, CheckedMessage message);
  // Refuses the chunks that are not complete. NOT_FOUND when the publish has ended.
  absl::StatusOr<PublishTally> EndPublish(absl::Time now, uint64_t publish);
  // As EndPublish for a publisher that is gone; unknown ones are ignored.
  void AbortPublish(absl::Time now, uint64_t publish);

  // NOT_FOUND when the lease has ended or does not cover a chunk: a miss. Chunks in the order wanted.
  absl::StatusOr<FetchCursor> BeginFetch(absl::Time now, uint64_t lease, const std::string& tenant, const Digest& model,
                                         absl::Span<const WantedChunk> chunks);
  // The next frames, layer by layer over all chunks, and renews the lease. Stops once `enough_bytes` are there and
  // before `most_bytes` are passed, but gives at least one frame. NOT_FOUND when the lease has ended.
  absl::StatusOr<FetchedBatch> NextFrames(absl::Time now, FetchCursor& cursor, int64_t enough_bytes,
                                          int64_t most_bytes);

  // ---- the ladder: degrade before evict.
  // What to re-encode so that the store is no fuller than ladder_ends, at most `most`; none while it is below
  // ladder_starts. Chunks that the ladder gives up are evicted at once. Every job wants one FinishLadder; until then
  // its chunk is neither evicted nor planned again, but may be read.
  std::vector<LadderJob> PlanLadder(absl::Time now, size_t most);
  // The job's frames in its target's form, or why not: then the chunk stays as it is, and so it does when it is leased.
  void FinishLadder(absl::Time now, const LadderJob& job, absl::StatusOr<std::vector<LayerBlob>> frames);

  void NoteLaunches(int64_t launches) { sums_.reencode_launches = launches; }

  void Report(const Observation& observation);
  // A heartbeat of whoever holds the lease: until now + lease, but not past longest_lease. NOT_FOUND when it has ended.
  absl::Status Renew(absl::Time now, uint64_t lease, const std::string& tenant);
  void Release(absl::Time now, uint64_t lease);
  // Ends leases and publishes whose time has come; every call above does it too.
  void Expire(absl::Time now);

  PoolStats stats() const;
  const Catalogue& catalogue() const { return catalogue_; }
  const HostTier& tier() const { return tier_; }
  const ChunkIndex& index() const { return index_; }

 private:
  enum class ChunkState : uint8_t { kOpen, kStored, kKnown, kRefused };
  struct OpenChunk {
    uint64_t entry = 0;
    ChunkState state = ChunkState::kOpen;
    Provenance provenance = Provenance::kExact;  // the worst so far
  };
  struct Publishing {
    std::shared_ptr<const PublishRules> rules;
    std::vector<OpenChunk> chunks;
    absl::Time deadline;
    uint64_t use = 0;           // the operation that opened it
    uint32_t tenant = 0;        // TenantTable's number
    double prefix_quality = 1;  // of what the first chunk's context names
  };

  // ---- pool_plan.cc
  absl::Status CheckDemand(const PlanDemand& demand) const;
  absl::StatusOr<PlanOffer> PriceAndChoose(const PlanDemand& demand);
  void LeasePrefix(absl::Time now, const PlanDemand& demand, PlanOffer& offer);

  // ---- pool_ladder.cc
  Ladder& LadderOf(uint32_t tenant);
  std::optional<uint32_t> ScaleOf(uint32_t tenant, const PoolModel& model);
  void DescribeToLadder(const Publishing& publishing, const Variant& variant);
  bool HasForm(const Digest& key, const LadderJob& job) const;

  // ---- pool.cc
  Variant VariantOf(const Publishing& publishing, size_t chunk) const;
  void Store(Publishing& publishing, size_t chunk);
  void Refuse(OpenChunk& chunk);
  void AddFrame(Publishing& publishing, CheckedFrame frame);
  PublishTally Close(Publishing& publishing);
  std::vector<Digest> AncestorsOf(const PublishStart& start) const;
  void UseAncestors(const Publishing& publishing, absl::Span<const Digest> ancestors, uint32_t* prefix_uses);
  OpenChunk OpenFor(const Publishing& publishing, const OfferedChunk& offered, uint32_t prefix_uses);
  double PrefixQuality(const PublishRules& rules, absl::Span<const Digest> ancestors) const;
  void ForgetEvicted();
  void LetGo(const std::vector<uint64_t>& entries);
  void RemoveEntry(uint64_t entry);  // a readable one

  const PoolLimits limits_;
  const Catalogue catalogue_;
  const ProfileTables tables_;
  ChunkIndex index_;
  HostTier tier_;
  LeaseTable leases_;
  Observations observations_;
  std::map<uint64_t, Publishing> publishes_;
  absl::flat_hash_map<uint64_t, Digest> key_of_;                             // of readable entries
  std::map<std::pair<uint32_t, Digest>, std::optional<uint32_t>> scales_;    // of a tenant's ladder for a model
  std::map<std::pair<uint32_t, uint32_t>, std::vector<Recipe>> recipes_of_;  // by tenant and scale; by rung
  int64_t ladder_frees_ = 0;  // what the jobs under way are expected to free
  uint64_t last_publish_ = 0;
  uint64_t operations_ = 0;
  PoolStats sums_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_POOL_POOL_H_
