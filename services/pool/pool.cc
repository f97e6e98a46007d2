// Invariants: an entry is in the index and in key_of_ exactly when it is committed in the host tier or, below_ of them,
// only lower tiers have it; every other entry of the host tier belongs to one open chunk of one publish; every held
// entry is held by leases only.
#include "services/pool/pool.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace decant {

namespace {

constexpr absl::Duration kWorkflowsEvery = absl::Milliseconds(100);

PoolLimits Settled(PoolLimits limits) {
  if (limits.eviction == PoolEviction::kLadder && limits.ladder.empty()) limits.eviction = PoolEviction::kLru;
  return limits;
}

std::unique_ptr<EvictionPolicy> MakePolicy(PoolEviction eviction) {
  switch (eviction) {
    case PoolEviction::kLadder:
      return std::make_unique<Ladder>();
    case PoolEviction::kSteps:
      return std::make_unique<StepsEviction>();
    case PoolEviction::kS3Fifo:
      return MakeEviction(EvictionKind::kS3Fifo);
    case PoolEviction::kLru:
      break;
  }
  return MakeEviction(EvictionKind::kLru);
}

}  // namespace

Pool::Pool(const PoolLimits& limits, Catalogue catalogue, ProfileTables tables, LowerTiers* lower)
    : limits_(Settled(limits)),
      catalogue_(std::move(catalogue)),
      tables_(std::move(tables)),
      index_(Sha256(absl::StrCat("decant index places\n", limits_.secret)).Prefix64()),
      tier_(
          limits_.capacity_bytes, [eviction = limits_.eviction] { return MakePolicy(eviction); }, limits_.tenants),
      leases_(limits_.leases, limits_.secret),
      retention_(limits_.longest_retention),
      lower_(lower),
      journal_(limits_.events_of_tenant),
      workflows_(limits_.workflows) {}

// ---- Publish.

absl::StatusOr<uint64_t> Pool::BeginPublish(absl::Time now, std::shared_ptr<const PublishRules> rules) {
  Expire(now);
  if (publishes_.size() >= limits_.publishes) {
    return absl::ResourceExhaustedError(absl::StrCat(publishes_.size(), " publishes are open; try again later"));
  }
  Publishing publishing;
  DECANT_ASSIGN_OR_RETURN(publishing.tenant, tier_.tenants().NumberOf(rules->start().tenant));
  publishing.rules = std::move(rules);
  publishing.deadline = now + limits_.publish_idle;
  publishing.use = ++operations_;
  const PublishStart& start = publishing.rules->start();
  const std::vector<Digest> ancestors = AncestorsOf(publishing.tenant, start);
  publishing.prefix_quality = PrefixQuality(publishing, ancestors);
  uint32_t prefix_uses = 0;
  UseAncestors(publishing, ancestors, &prefix_uses);
  for (const OfferedChunk& offered : start.chunks) {
    publishing.chunks.push_back(OpenFor(publishing, offered, prefix_uses));
    ForgetEvicted();
  }
  if (limits_.eviction == PoolEviction::kLadder) ScaleOf(publishing.tenant, start.model);
  const uint64_t id = ++last_publish_;
  publishes_.emplace(id, std::move(publishing));
  return id;
}

// What stands in front of published chunks is of use now: without it they could not be found. The request has used it
// already when it was planned.
void Pool::UseAncestors(const Publishing& publishing, absl::Span<const Digest> ancestors, uint32_t* prefix_uses) {
  EntryUse again;
  again.operation = publishing.use;
  again.counts = false;
  for (size_t i = 0; i < ancestors.size(); ++i) {
    for (const VariantId id : index_.Find(ancestors[i], publishing.tenant)) {
      const uint64_t entry = index_.record(id).entry;
      if (i == 0) *prefix_uses = std::max(*prefix_uses, tier_.UsesOf(entry));
      tier_.Use(entry, again);
    }
  }
}

Pool::OpenChunk Pool::OpenFor(const Publishing& publishing, const OfferedChunk& offered, uint32_t prefix_uses) {
  OpenChunk chunk;
  EvictionFacts facts;
  facts.key = offered.key.Prefix64();
  facts.depth = offered.first_token;
  facts.prefix_uses = prefix_uses;
  facts.use.operation = publishing.use;
  facts.use.floor = publishing.rules->start().floor;
  facts.use.ends = publishing.rules->start().ends && &offered == &publishing.rules->start().chunks.back();
  const Digest variant = VariantDigest(publishing.rules->recipe().digest, offered.context);
  const std::optional<VariantId> stored = index_.Find(offered.key, variant, publishing.tenant);
  // One that only lower tiers have is taken: whoever computed it did so because it did not come from there.
  if (stored.has_value() && index_.record(*stored).tier == Tier::kHost) {
    chunk.state = ChunkState::kKnown;
    tier_.Use(index_.record(*stored).entry, facts.use);
    return chunk;
  }
  MakeRoomBelow(publishing.tenant, HostTier::kEntryOverheadBytes);
  const absl::StatusOr<uint64_t> entry =
      tier_.Stage(publishing.rules->start().model.geometry.layers, facts, publishing.tenant);
  if (entry.ok()) {
    chunk.entry = *entry;
  } else {
    chunk.state = ChunkState::kRefused;
  }
  return chunk;
}

// The keys before the first chunk as far as they are stored, from its parent towards token 0. Nobody has verified the
// parents that publishers state, and they may form a cycle: each step has to lead one chunk nearer to token 0.
std::vector<Digest> Pool::AncestorsOf(uint32_t tenant, const PublishStart& start) const {
  std::vector<Digest> ancestors;
  const OfferedChunk& first = start.chunks.front();
  Digest parent = first.parent;
  for (int32_t at = first.first_token - first.tokens; at >= 0 && !parent.IsZero(); at -= first.tokens) {
    const std::vector<VariantId> variants = index_.Find(parent, tenant);
    const auto in_place = std::find_if(variants.begin(), variants.end(), [&](VariantId id) {
      const VariantRecord& variant = index_.record(id);
      return variant.first_token == at && variant.tokens == first.tokens;
    });
    if (in_place == variants.end()) break;
    ancestors.push_back(parent);
    parent = index_.record(*in_place).parent;
  }
  return ancestors;
}

// A publisher need not state the quality of what it computed over: its context is a digest of exactly those variants,
// so rebuilding it from what a plan would have given it proves which they were. 0 when that fails.
double Pool::PrefixQuality(const Publishing& publishing, absl::Span<const Digest> ancestors) const {
  const PublishRules& rules = *publishing.rules;
  const OfferedChunk& first = rules.start().chunks.front();
  if (first.context.IsZero()) return 1;
  if (static_cast<int64_t>(ancestors.size()) * first.tokens != first.first_token) return 0;
  const std::vector<Digest> keys(ancestors.rbegin(), ancestors.rend());
  PrefixWant want;
  want.model = rules.start().model.fingerprint;
  want.tenant = publishing.tenant;
  want.prompt_tokens = int64_t{first.first_token} + 1;
  want.chunk_tokens = first.tokens;
  want.form = rules.recipe().digest;
  double quality = 1;
  std::vector<LoadedChunk> loaded;
  for (const VariantId id : index_.MatchPrefix(keys, want).chunks) {
    const Variant variant = index_.Get(id);
    loaded.push_back(LoadedChunk{variant.key, VariantDigest(variant.profile, variant.context), variant.exact()});
    quality = std::min(quality, variant.quality);
  }
  return ContextOf(loaded) == first.context ? quality : 0;
}

absl::Status Pool::AddFrames(absl::Time now, uint64_t publish, CheckedMessage message) {
  Expire(now);
  const auto found = publishes_.find(publish);
  if (found == publishes_.end()) {
    return absl::NotFoundError(absl::StrCat("publish ", publish, " has ended: no frame came for ",
                                            absl::FormatDuration(limits_.publish_idle)));
  }
  Publishing& publishing = found->second;
  publishing.deadline = now + limits_.publish_idle;
  for (CheckedFrame& frame : message.frames) AddFrame(publishing, std::move(frame));
  for (const size_t wrong : message.wrong_chunks) Refuse(publishing.chunks[wrong]);
  return absl::OkStatus();
}

void Pool::AddFrame(Publishing& publishing, CheckedFrame frame) {
  OpenChunk& chunk = publishing.chunks[frame.chunk];
  if (chunk.state != ChunkState::kOpen) return;
  chunk.provenance = std::max(chunk.provenance, frame.provenance);
  MakeRoomBelow(publishing.tenant, frame.blob.blob.bytes() + HostTier::kBlobOverheadBytes);
  const absl::Status added = tier_.Add(chunk.entry, std::move(frame.blob));
  ForgetEvicted();
  if (!added.ok()) {
    Refuse(chunk);
    return;
  }
  if (tier_.Complete(chunk.entry)) Store(publishing, frame.chunk);
}

Variant Pool::VariantOf(const Publishing& publishing, size_t chunk) const {
  const PublishStart& start = publishing.rules->start();
  const Recipe& recipe = publishing.rules->recipe();
  const OfferedChunk& offered = start.chunks[chunk];
  Variant variant;
  variant.entry = publishing.chunks[chunk].entry;
  variant.tenant = publishing.tenant;
  variant.key = offered.key;
  variant.parent = offered.parent;
  variant.model = start.model.fingerprint;
  variant.profile = recipe.digest;
  variant.profile_name = recipe.profile;
  variant.context = offered.context;
  variant.first_token = offered.first_token;
  variant.tokens = offered.tokens;
  variant.provenance = publishing.chunks[chunk].provenance;
  if (!offered.context.IsZero()) variant.provenance = std::max(variant.provenance, Provenance::kQuantised);
  variant.bytes = tier_.FrameBytes(variant.entry);
  // What the publisher states can only lower what was measured.
  const ProfileTable* table = tables_.For(start.model.fingerprint);
  const ProfileCost* cost = table == nullptr ? nullptr : table->Find(recipe.profile);
  const double measured = recipe.exact() ? 1 : (cost == nullptr ? 0 : cost->quality);
  const bool same_prefix = offered.context == start.chunks.front().context;
  const double unstated = std::min(measured, same_prefix ? publishing.prefix_quality : 0);
  variant.quality = variant.exact() ? 1 : (offered.quality > 0 ? std::min(offered.quality, measured) : unstated);
  return variant;
}

void Pool::Store(Publishing& publishing, size_t index) {
  OpenChunk& chunk = publishing.chunks[index];
  const Variant variant = VariantOf(publishing, index);
  if (const auto stored = index_.Find(variant.key, VariantDigest(variant.profile, variant.context), variant.tenant);
      stored.has_value() && index_.record(*stored).tier != Tier::kHost) {
    Lose(index_.record(*stored).entry);  // this one takes its place, in the lower tiers as well
  }
  if (!index_.Insert(variant)) {  // another publish was faster
    tier_.Drop(chunk.entry);
    chunk.state = ChunkState::kKnown;
    return;
  }
  const absl::Status committed = tier_.Commit(chunk.entry);
  DECANT_CHECK_MSG(committed.ok(), "%s", std::string(committed.message()).c_str());
  key_of_.emplace(chunk.entry, variant.key);
  chunk.state = ChunkState::kStored;
  DescribeToPolicy(variant);
  TellLower(HostEvent::kStored, variant);
  Tell(ChunkEventKind::kStored, variant);
}

void Pool::Refuse(OpenChunk& chunk) {
  if (chunk.state != ChunkState::kOpen) return;
  tier_.Drop(chunk.entry);
  chunk.state = ChunkState::kRefused;
}

PublishTally Pool::Close(Publishing& publishing) {
  PublishTally tally;
  for (OpenChunk& chunk : publishing.chunks) {
    Refuse(chunk);
    tally.stored += chunk.state == ChunkState::kStored ? 1 : 0;
    tally.known += chunk.state == ChunkState::kKnown ? 1 : 0;
    tally.refused += chunk.state == ChunkState::kRefused ? 1 : 0;
  }
  sums_.chunks_stored += tally.stored;
  sums_.chunks_known += tally.known;
  sums_.chunks_refused += tally.refused;
  return tally;
}

absl::StatusOr<PublishTally> Pool::EndPublish(absl::Time now, uint64_t publish) {
  Expire(now);
  const auto found = publishes_.find(publish);
  if (found == publishes_.end()) return absl::NotFoundError(absl::StrCat("publish ", publish, " has ended"));
  const PublishTally tally = Close(found->second);
  publishes_.erase(found);
  return tally;
}

void Pool::AbortPublish(absl::Time now, uint64_t publish) {
  if (auto found = publishes_.find(publish); found != publishes_.end()) {
    Close(found->second);
    publishes_.erase(found);
  }
  Expire(now);
}

// ---- Fetch.

absl::StatusOr<FetchCursor> Pool::BeginFetch(absl::Time now, uint64_t lease, const std::string& tenant,
                                             const Digest& model, absl::Span<const WantedChunk> chunks) {
  Expire(now);
  DECANT_RETURN_IF_ERROR(leases_.Renew(lease, tenant, now, now + limits_.lease));
  DECANT_ASSIGN_OR_RETURN(const Lease* held, leases_.Find(lease, tenant, now));
  if (chunks.size() > held->entries.size()) {
    return absl::NotFoundError(absl::StrCat("lease ", lease, " covers ", held->entries.size(), " chunks, ",
                                            chunks.size(), " were asked for; plan again"));
  }
  const uint32_t number = tier_.tenants().Find(tenant);
  const absl::flat_hash_set<uint64_t> covered(held->entries.begin(), held->entries.end());
  // Of what was lost meanwhile only the lease still knows.
  const auto lost = [&](const WantedChunk& chunk) -> uint64_t {
    for (const uint64_t entry : held->entries) {
      const auto found = awaited_.find(entry);
      if (found == awaited_.end() || found->second.lost.empty()) continue;
      const RecordId& id = found->second.id;
      if (id.key == chunk.key && id.variant == chunk.variant && id.model == model) return entry;
    }
    return 0;
  };
  FetchCursor cursor;
  cursor.lease = lease;
  cursor.tenant = tenant;
  for (const WantedChunk& chunk : chunks) {
    const std::optional<VariantId> found = index_.Find(chunk.key, chunk.variant, number);
    uint64_t entry =
        found.has_value() && index_.ModelOf(index_.record(*found)) == model ? index_.record(*found).entry : 0;
    if (!covered.contains(entry)) entry = lost(chunk);
    if (entry == 0) {
      return absl::NotFoundError(
          absl::StrCat("lease ", lease, " does not cover chunk ", chunk.key.Hex().substr(0, 16), "; plan again"));
    }
    cursor.entries.push_back(entry);
  }
  return cursor;
}

// Whether a load of the fetch's own lease is under way: the loads of others bound nothing that it waits for. What the
// lease holds in host memory stays there, so none is looked at twice.
bool Pool::IsLoading(FetchCursor& cursor) const {
  while (cursor.arrived < cursor.entries.size() && InHost(cursor.entries[cursor.arrived])) ++cursor.arrived;
  if (cursor.arrived == cursor.entries.size()) return false;
  const auto found = awaited_.find(cursor.entries[cursor.arrived]);
  return found != awaited_.end() && found->second.asked_by.contains(cursor.lease);
}

void Pool::BeginFrames(FetchCursor& cursor) {
  cursor.began = true;
  for (size_t i = 0; i < cursor.entries.size(); ++i) {
    const absl::Span<const LayerBlob> blobs = tier_.Frames(cursor.entries[i]);
    if (!blobs.empty()) {
      cursor.layers = std::max(cursor.layers, blobs.back().first_layer + blobs.back().layers);
      continue;
    }
    const auto found = awaited_.find(cursor.entries[i]);
    cursor.lost = found == awaited_.end() || found->second.lost.empty() ? "it is gone" : found->second.lost;
    cursor.entries.resize(i);
  }
  cursor.next_blob.resize(cursor.entries.size());
}

absl::StatusOr<FetchedBatch> Pool::NextFrames(absl::Time now, FetchCursor& cursor, int64_t enough_bytes,
                                              int64_t most_bytes) {
  Expire(now);
  DECANT_RETURN_IF_ERROR(leases_.Renew(cursor.lease, cursor.tenant, now, now + limits_.lease));
  if (!cursor.began) BeginFrames(cursor);
  FetchedBatch batch;
  int64_t bytes = 0;
  while (cursor.layer < cursor.layers && bytes < enough_bytes) {
    if (cursor.chunk == cursor.entries.size()) {
      cursor.chunk = 0;
      ++cursor.layer;
      continue;
    }
    const absl::Span<const LayerBlob> blobs = tier_.Frames(cursor.entries[cursor.chunk]);
    size_t& next = cursor.next_blob[cursor.chunk];
    // A blob of several layers goes out with its first one.
    if (next < blobs.size() && blobs[next].first_layer == cursor.layer) {
      const Blob& blob = blobs[next].blob;
      if (!batch.frames.empty() && bytes + blob.bytes() > most_bytes) break;
      bytes += blob.bytes();
      batch.frames.push_back(blob);
      batch.last_layer = cursor.layer;
      ++next;
    }
    ++cursor.chunk;
  }
  sums_.fetched_bytes += bytes;
  return batch;
}

// ---- The rest.

void Pool::Report(const Observation& observation) { observations_.Add(observation); }

void Pool::LetGo(const std::vector<uint64_t>& entries) {
  for (const uint64_t entry : entries) {
    const auto found = awaited_.find(entry);
    if (found == awaited_.end() || found->second.holds == 0) {
      tier_.LetGo(entry);
      continue;
    }
    if (--found->second.holds == 0 && found->second.loads == 0) awaited_.erase(found);
  }
}

void Pool::Release(absl::Time now, uint64_t lease, const std::string& tenant) {
  LetGo(leases_.Release(lease, tenant));
  Expire(now);
}

void Pool::Expire(absl::Time now) {
  LetGo(leases_.Expire(now));
  for (const uint64_t entry : retention_.Expire(now)) tier_.SetPriority(entry, kDefaultPriority);
  if (workflows_.size() > 0 && now >= workflows_checked_ + kWorkflowsEvery) {
    workflows_checked_ = now;
    workflows_.Expire(now);
    NoteSteps();
  }
  for (auto it = publishes_.begin(); it != publishes_.end();) {
    if (it->second.deadline > now) {
      ++it;
      continue;
    }
    Close(it->second);
    it = publishes_.erase(it);
  }
}

void Pool::RemoveEntry(uint64_t entry) {
  const absl::Span<const LayerBlob> frames = tier_.Frames(entry);
  std::vector<LayerBlob> kept(frames.begin(), frames.end());
  tier_.Drop(entry);
  MoveDown(entry, std::move(kept));
}

// Staged entries that were displaced need nothing: their next frame finds them gone.
void Pool::ForgetEvicted() {
  for (ForgottenEntry& gone : tier_.TakeForgotten()) {
    if (key_of_.contains(gone.entry)) MoveDown(gone.entry, std::move(gone.frames));
  }
}

PoolStats Pool::stats() const {
  PoolStats stats = sums_;
  stats.stored_bytes = tier_.bytes();
  stats.capacity_bytes = tier_.capacity_bytes();
  stats.chunks = static_cast<int64_t>(index_.variants());
  stats.chunks_below = static_cast<int64_t>(below_);
  stats.leases = static_cast<int64_t>(leases_.held());
  return stats;
}

}  // namespace decant
