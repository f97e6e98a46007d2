// The pool's core: which chunks it holds, who may read them, and how a request should get its KV.
//
// A synchronous state machine: time comes in as an argument and must not go back. Not thread-safe: the edge holds one
// mutex around it. Bytes are verified before they come here (PublishRules) and leave as shared blobs, so that neither
// checksums nor copies happen under that mutex.
#ifndef DECANT_SERVICES_POOL_POOL_H_
#define DECANT_SERVICES_POOL_POOL_H_

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/compress/profile.h"
#include "common/index/chunk_index.h"
#include "common/index/journal.h"
#include "common/index/leases.h"
#include "common/policy/observations.h"
#include "common/policy/profile_facts.h"
#include "common/policy/profile_table.h"
#include "common/policy/workflow.h"
#include "common/store/host_tier.h"
#include "common/store/ladder.h"
#include "common/store/retention.h"
#include "common/store/tenants.h"
#include "services/pool/pool_events.h"
#include "services/pool/pool_hints.h"
#include "services/pool/pool_messages.h"
#include "services/pool/publish_rules.h"
#include "services/pool/tiers/lower_tiers.h"

namespace decant {

// Which chunk goes when room is needed.
enum class PoolEviction : uint8_t {
  kLru = 0,
  kS3Fifo = 1,
  kSteps = 2,   // what workflows need latest
  kLadder = 3,  // what loses least value per byte, re-encoded before it is forgotten
};

struct PoolLimits {
  int64_t capacity_bytes = int64_t{1} << 30;
  absl::Duration lease = absl::Seconds(30);
  absl::Duration longest_lease = absl::Minutes(10);  // with all its renewals, of which each use is one
  absl::Duration publish_idle = absl::Seconds(10);
  size_t leases = 4096;  // of a tenant
  std::string secret;    // random in a server: nobody shall guess what lease numbers and places of keys follow from
  size_t publishes = 256;
  double fetch_bits_per_s = 8e9;
  PoolEviction eviction = PoolEviction::kLadder;
  // Of kLadder: forms that chunks may be re-encoded to under pressure, best first; empty: kLru it is.
  std::vector<std::string> ladder;
  double ladder_starts = 0.9;                    // of the capacity: fuller, and chunks are re-encoded
  double ladder_ends = 0.85;                     // until it is this full
  absl::Duration load_limit = absl::Seconds(2);  // of a chunk from a lower tier
  double disk_bytes_per_s = 2e8;                 // what Plan expects of loads from lower tiers
  double remote_bytes_per_s = 1e8;
  size_t below = size_t{1} << 22;  // chunks that only lower tiers have, some 400 bytes of memory each
  int32_t prefetch_steps = 1;      // chunks of agents that run within so many steps are loaded
  size_t prefetch_chunks = 256;    // at most, for one update of a workflow
  WorkflowLimits workflows;
  TenantTable tenants = TenantTable();
  absl::Duration longest_retention = absl::Hours(24);
  size_t events_of_tenant = 16384;  // kept for those who follow
};

// Every profile that works on a model, with the digest of its shareable form, and of the same where stored frames of it
// are forwarded to decode, else zeros.
struct PlanLineup {
  std::vector<ProfileFacts> facts;
  std::vector<Digest> forms;
  std::vector<Digest> forwarded;
};

class Pool {
 public:
  // `lower` may be null; it must outlive the pool.
  Pool(const PoolLimits& limits, Catalogue catalogue, ProfileTables tables, LowerTiers* lower = nullptr);

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
  // Some chunk of it is on its way from a lower tier: NextFrames would leave it out, and all behind it.
  bool IsLoading(FetchCursor& cursor) const;
  // The next frames, layer by layer over all chunks, and renews the lease. Chunks that were lost since the plan, and
  // those behind them, are left out: `cursor.lost` then says why. Stops once `enough_bytes` are there and
  // before `most_bytes` are passed, but gives at least one frame. NOT_FOUND when the lease has ended.
  absl::StatusOr<FetchedBatch> NextFrames(absl::Time now, FetchCursor& cursor, int64_t enough_bytes,
                                          int64_t most_bytes);

  // ---- lower tiers: what host memory forgets lives on in them.
  // What they hold from before, for a pool that starts.
  absl::StatusOr<size_t> Learn(absl::Span<const RecordHead> found, Tier tier);
  // Chunks to load since the last call; every job wants one FinishLoad.
  std::vector<LoadJob> TakeLoads();
  void FinishLoad(absl::Time now, const LoadJob& job, Loaded loaded);
  // Records that no lower tier has any more.
  void ForgetBelow(absl::Span<const RecordName> names);
  // What only host memory holds, for a pool that ends.
  std::vector<Record> NotBelow() const;

  // ---- workflows: what agents will need, and when. Errors of WorkflowTable; what it refuses changes nothing.
  absl::StatusOr<WorkflowReceipt> UpdateWorkflow(absl::Time now, const WorkflowUpdate& update);

  // ---- the ladder: degrade before evict.
  // What to re-encode so that the store is no fuller than ladder_ends, at most `most`; none while it is below
  // ladder_starts. Chunks that the ladder gives up are evicted at once. Every job wants one FinishLadder; until then
  // its chunk is neither evicted nor planned again, but may be read.
  std::vector<LadderJob> PlanLadder(absl::Time now, size_t most);
  // The job's frames in its target's form, or why not: then the chunk stays as it is, and so it does when it is leased.
  void FinishLadder(absl::Time now, const LadderJob& job, absl::StatusOr<std::vector<LayerBlob>> frames);

  void NoteLaunches(int64_t launches) { sums_.reencode_launches = launches; }

  // ---- hints. One receipt each, in their order; what is not the tenant's is not stored.
  std::vector<HintReceipt> TakeHints(absl::Time now, const std::string& tenant, absl::Span<const Hint> hints);

  // ---- events. The next page of what the cursor's tenant may see, at most `most` events, and moves the cursor.
  // OUT_OF_RANGE when the events to go on with are kept no longer, or never were: begin with a snapshot.
  absl::StatusOr<EventPage> Events(EventCursor& cursor, size_t most) const;
  uint64_t events() const { return journal_.appended(); }  // grows with every event, whosever

  void Report(const Observation& observation);
  void Release(absl::Time now, uint64_t lease, const std::string& tenant);
  // Ends leases and publishes whose time has come; every call above does it too.
  void Expire(absl::Time now);

  PoolStats stats() const;
  const Catalogue& catalogue() const { return catalogue_; }
  const HostTier& tier() const { return tier_; }
  const ChunkIndex& index() const { return index_; }
  const Journal& journal() const { return journal_; }
  TenantTable& tenants() { return tier_.tenants(); }

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
  absl::StatusOr<PlanLineup> LineupOf(const PoolModel& model);
  absl::StatusOr<PlanOffer> PriceAndChoose(const PlanDemand& demand);
  void LeasePrefix(absl::Time now, const PlanDemand& demand, PlanOffer& offer);
  void CountLookup(const PlanDemand& demand, const PlanOffer& offer);

  // ---- pool_tiers.cc
  // Of a chunk that only lower tiers have, while anybody waits for it.
  struct Awaited {
    RecordId id;
    int32_t holds = 0;                       // leases
    int32_t loads = 0;                       // under way
    absl::flat_hash_set<uint64_t> asked_by;  // leases of which a load is under way
    std::string lost;                        // why it did not come
  };
  bool InHost(uint64_t entry) const { return tier_.ChargeOf(entry) > 0; }
  void Hold(uint64_t entry);
  // Has it loaded for a lease.
  void Await(const Variant& variant, const EntryUse& use, uint64_t lease);
  // The same before anybody asked for it; nothing when it is on its way.
  void ReadAhead(const Variant& variant, const EntryUse& use, absl::Duration useful = absl::InfiniteDuration());
  void AddLoad(Awaited& awaited, LoadJob job);
  absl::Status TakeIn(const LoadJob& job, const Record& record);
  void MoveDown(uint64_t entry, std::vector<LayerBlob> frames);
  // What only lower tiers have is counted, and what is on the pool's own disk counts against its tenant's quota.
  void EnterBelow(const Variant& variant);
  void LeaveBelow(const Variant& variant);
  // Forgets what a tenant has below, oldest first, until so many bytes more are within its quota or nothing is left.
  void MakeRoomBelow(uint32_t tenant, int64_t bytes);
  bool FitsQuotaBelow(const Variant& variant);
  void Lose(uint64_t entry);  // it is nowhere any more
  void KeepFormerForm(const Variant& former);
  void TellLower(HostEvent event, const Variant& variant);
  void Tell(ChunkEventKind kind, const Variant& variant, const Digest& becomes = Digest());

  // ---- pool_workflow.cc
  WorkflowReceipt Prefetch(const WorkflowId& id);
  ChunkPresence PresenceOf(uint32_t tenant, const Digest& key) const;
  void NoteSteps();

  // ---- pool_hints.cc
  std::vector<uint64_t> EntriesOf(uint32_t tenant, absl::Span<const Digest> keys, bool all_tiers) const;
  bool IsRead(uint64_t entry) const { return tier_.IsHeld(entry) || awaited_.contains(entry); }
  void ForgetEverywhere(uint64_t entry);
  HintReceipt TakeHint(absl::Time now, uint32_t tenant, const Hint& hint);
  HintReceipt Retain(absl::Time now, uint32_t tenant, const Hint& hint, absl::Span<const uint64_t> entries,
                     HintReceipt receipt);
  HintReceipt ReleaseRetained(const Hint& hint, absl::Span<const uint64_t> entries, HintReceipt receipt);
  HintReceipt PrefetchHinted(uint32_t tenant, const Hint& hint, HintReceipt receipt);
  HintReceipt Demote(absl::Time now, uint32_t tenant, absl::Span<const uint64_t> entries, HintReceipt receipt);
  HintReceipt Compress(uint32_t tenant, const Hint& hint, absl::Span<const uint64_t> entries, HintReceipt receipt);

  // ---- pool_ladder.cc
  Ladder& LadderOf(uint32_t tenant);
  LadderJob JobOf(uint32_t tenant, const LadderStep& step);
  std::optional<uint32_t> ScaleOf(uint32_t tenant, const PoolModel& model);
  void DescribeToPolicy(const Variant& variant);
  bool HasForm(const Digest& key, const LadderJob& job) const;

  // ---- pool.cc
  void BeginFrames(FetchCursor& cursor);
  Variant VariantOf(const Publishing& publishing, size_t chunk) const;
  void Store(Publishing& publishing, size_t chunk);
  void Refuse(OpenChunk& chunk);
  void AddFrame(Publishing& publishing, CheckedFrame frame);
  PublishTally Close(Publishing& publishing);
  std::vector<Digest> AncestorsOf(uint32_t tenant, const PublishStart& start) const;
  void UseAncestors(const Publishing& publishing, absl::Span<const Digest> ancestors, uint32_t* prefix_uses);
  OpenChunk OpenFor(const Publishing& publishing, const OfferedChunk& offered, uint32_t prefix_uses);
  double PrefixQuality(const Publishing& publishing, absl::Span<const Digest> ancestors) const;
  void ForgetEvicted();
  void LetGo(const std::vector<uint64_t>& entries);
  void RemoveEntry(uint64_t entry);  // a readable one in host memory; it may live on below

  const PoolLimits limits_;
  const Catalogue catalogue_;
  const ProfileTables tables_;
  ChunkIndex index_;
  HostTier tier_;
  LeaseTable leases_;
  Observations observations_;
  std::map<uint64_t, Publishing> publishes_;
  Retention retention_;
  LowerTiers* const lower_;
  Journal journal_;
  WorkflowTable workflows_;
  absl::flat_hash_map<uint64_t, Digest> key_of_;  // of readable entries, in whatever tier
  absl::flat_hash_map<uint64_t, Awaited> awaited_;
  std::vector<LoadJob> loads_;
  std::map<uint32_t, std::deque<LadderJob>> wished_;  // by hints of each tenant, who take turns
  uint32_t last_wisher_ = 0;
  absl::flat_hash_map<std::string, PlanLineup> lineups_;
  size_t below_ = 0;                                                     // readable entries that are not in host memory
  absl::flat_hash_map<uint32_t, absl::btree_set<uint64_t>> on_disk_of_;  // by tenant: those of them that are on disk
  std::map<std::pair<uint32_t, Digest>, std::optional<uint32_t>> scales_;    // of a tenant's ladder for a model
  std::map<std::pair<uint32_t, uint32_t>, std::vector<Recipe>> recipes_of_;  // by tenant and scale; by rung
  int64_t ladder_frees_ = 0;  // what the jobs under way are expected to free
  absl::Time workflows_checked_ = absl::InfinitePast();
  uint64_t last_publish_ = 0;
  uint64_t operations_ = 0;
  PoolStats sums_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_POOL_POOL_H_
