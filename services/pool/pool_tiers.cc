// What host memory forgets lives on in lower tiers: the index keeps it and says where it is, a plan has it loaded, and
// what does not come is a miss with a reason. Nothing here reads or writes a tier: LowerTiers takes notes, and whoever
// runs the pool executes TakeLoads.
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/kv/frame.h"
#include "services/pool/pool.h"

namespace decant {
namespace {

constexpr size_t kLongestSteps = 1024;  // bytes of names, far more than any ladder has

// What a record that was read back may claim, whoever wrote it.
bool CanBe(const Variant& variant) {
  return variant.encoded_from.size() <= kLongestSteps && variant.tokens > 0 && variant.tokens <= kMaxFrameSpan &&
         variant.first_token >= 0 && variant.quality >= 0 && variant.quality <= 1 &&
         variant.provenance != Provenance::kUnspecified;
}

}  // namespace

// ---- What the lower tiers and those who follow are told.

void Pool::TellLower(HostEvent event, const Variant& variant) {
  if (lower_ == nullptr || !lower_->Heeds(event)) return;
  lower_->Note(event, IdOf(variant), [&] {
    const absl::Span<const LayerBlob> frames = tier_.Frames(variant.entry);
    return Record{variant, tier_.tenants().name_space(variant.tenant), {frames.begin(), frames.end()}};
  });
}

void Pool::Tell(ChunkEventKind kind, const Variant& variant, const Digest& becomes) {
  ChunkEvent event;
  event.kind = kind;
  event.tier = variant.tier;
  event.tenant = variant.tenant;
  event.first_token = variant.first_token;
  event.tokens = variant.tokens;
  event.key = variant.key;
  event.parent = variant.parent;
  event.variant = VariantDigest(variant.profile, variant.context);
  if (kind == ChunkEventKind::kMoved) event.becomes = becomes.IsZero() ? event.variant : becomes;
  journal_.Append(event);
}

// ---- Quotas.

namespace {

// Of a chunk on disk, with what the pool keeps of it in memory.
int64_t BelowBytes(const Variant& variant) { return variant.bytes + HostTier::kEntryOverheadBytes; }

}  // namespace

void Pool::EnterBelow(const Variant& variant) {
  ++below_;
  if (variant.tier != Tier::kDisk) return;  // others' room: the remote server bounds it
  tier_.tenants().ChargeBelow(variant.tenant, BelowBytes(variant));
  on_disk_of_[variant.tenant].insert(variant.entry);
}

void Pool::LeaveBelow(const Variant& variant) {
  --below_;
  if (variant.tier != Tier::kDisk) return;
  tier_.tenants().ChargeBelow(variant.tenant, -BelowBytes(variant));
  on_disk_of_[variant.tenant].erase(variant.entry);
}

// What somebody waits for stays.
void Pool::MakeRoomBelow(uint32_t tenant, int64_t bytes) {
  const auto found = on_disk_of_.find(tenant);
  if (found == on_disk_of_.end()) return;
  absl::btree_set<uint64_t>& entries = found->second;
  for (auto next = entries.begin(); next != entries.end() && tier_.tenants().OverQuota(tenant, bytes) > 0;) {
    const uint64_t entry = *next;
    if (!awaited_.contains(entry)) ForgetEverywhere(entry);
    next = entries.upper_bound(entry);
  }
}

bool Pool::FitsQuotaBelow(const Variant& variant) {
  if (variant.tier != Tier::kDisk) return true;
  MakeRoomBelow(variant.tenant, BelowBytes(variant));
  return tier_.tenants().OverQuota(variant.tenant, BelowBytes(variant)) == 0;
}

// ---- Down.

void Pool::MoveDown(uint64_t entry, std::vector<LayerBlob> frames) {
  retention_.Forget(entry);
  const Digest key = key_of_.at(entry);
  Variant variant = index_.Get(*index_.FindEntry(key, entry));
  if (lower_ != nullptr && below_ < limits_.below) {
    const RecordId id = IdOf(variant);
    if (lower_->Heeds(HostEvent::kEvicted)) {
      lower_->Note(HostEvent::kEvicted, id, [&] {
        return Record{variant, tier_.tenants().name_space(variant.tenant), std::move(frames)};
      });
    }
    Variant moved = variant;
    const std::optional<Tier> below = lower_->Where(id);
    if (below.has_value()) moved.tier = *below;
    if (below.has_value() && FitsQuotaBelow(moved)) {
      index_.Move(key, entry, *below);
      EnterBelow(moved);
      ++sums_.moved_down;
      Tell(ChunkEventKind::kMoved, moved);
      return;
    }
    if (below.has_value()) lower_->Erase(id);
  }
  index_.Erase(key, entry);
  key_of_.erase(entry);
  ++sums_.evicted;
  Tell(ChunkEventKind::kRemoved, variant);
}

void Pool::Lose(uint64_t entry) {
  const Digest key = key_of_.at(entry);
  const Variant variant = index_.Get(*index_.FindEntry(key, entry));
  Tell(ChunkEventKind::kRemoved, variant);
  index_.Erase(key, entry);
  key_of_.erase(entry);
  LeaveBelow(variant);
  if (const auto found = awaited_.find(entry); found != awaited_.end() && found->second.lost.empty()) {
    found->second.lost = "it was lost";
  }
}

// The better form of a re-encoded chunk, where a lower tier has it: it can still be had from there.
void Pool::KeepFormerForm(const Variant& former) {
  if (lower_ == nullptr || below_ >= limits_.below) return;
  const std::optional<Tier> below = lower_->Where(IdOf(former));
  if (!below.has_value()) return;
  Variant kept = former;
  kept.entry = tier_.NewEntry();
  kept.tier = *below;
  if (!FitsQuotaBelow(kept)) return lower_->Erase(IdOf(kept));
  if (!index_.Insert(kept)) return;
  key_of_.emplace(kept.entry, kept.key);
  EnterBelow(kept);
  Tell(ChunkEventKind::kStored, kept);
}

void Pool::ForgetBelow(absl::Span<const RecordName> names) {
  for (const RecordName& name : names) {
    for (const VariantId id : index_.Find(name.key)) {
      if (index_.record(id).tier == Tier::kHost) continue;
      const Variant variant = index_.Get(id);
      const RecordId record = IdOf(variant);
      if (record.variant.Prefix64() != name.variant || lower_->Where(record).has_value()) continue;
      Lose(variant.entry);
    }
  }
}

std::vector<Record> Pool::NotBelow() const {
  std::vector<Record> records;
  if (lower_ == nullptr) return records;
  for (const auto& [entry, key] : key_of_) {
    if (!InHost(entry)) continue;
    const Variant variant = index_.Get(*index_.FindEntry(key, entry));
    if (lower_->Where(IdOf(variant)).has_value()) continue;
    const absl::Span<const LayerBlob> frames = tier_.Frames(entry);
    records.push_back(Record{variant, tier_.tenants().name_space(variant.tenant), {frames.begin(), frames.end()}});
  }
  return records;
}

// ---- Up.

absl::StatusOr<size_t> Pool::Learn(absl::Span<const RecordHead> found, Tier tier) {
  size_t learned = 0;
  for (const RecordHead& head : found) {
    if (below_ >= limits_.below) {
      return absl::ResourceExhaustedError(
          absl::StrCat("only lower tiers have ", below_, " chunks, the most there may be"));
    }
    if (!CanBe(head.variant)) continue;
    Variant variant = head.variant;
    const auto tenant =
        head.tenant.IsZero() ? TenantTable::kDefaultTenant : tier_.tenants().NumberOfNamespace(head.tenant);
    if (!tenant.ok()) continue;
    variant.tenant = *tenant;
    variant.entry = tier_.NewEntry();
    variant.tier = tier;
    if (!FitsQuotaBelow(variant)) {  // as the quota is now
      if (lower_ != nullptr) lower_->Erase(IdOf(variant));
      continue;
    }
    if (!index_.Insert(variant)) continue;
    key_of_.emplace(variant.entry, variant.key);
    EnterBelow(variant);
    ++learned;
    Tell(ChunkEventKind::kStored, variant);
  }
  return learned;
}

void Pool::Hold(uint64_t entry) {
  const auto found = awaited_.find(entry);
  if (found == awaited_.end() || InHost(entry)) return tier_.Hold(entry);
  ++found->second.holds;
}

// Every lease has a load of its own, with the whole of the time that a load may take and no more: it waits for no
// other's, neither for a prefetch, which has patience, nor for those of requests that came later.
void Pool::Await(const Variant& variant, const EntryUse& use, uint64_t lease) {
  Awaited& awaited = awaited_[variant.entry];
  awaited.asked_by.insert(lease);
  AddLoad(awaited, LoadJob{variant.entry, IdOf(variant), use, lease, absl::InfiniteDuration()});
}

void Pool::ReadAhead(const Variant& variant, const EntryUse& use, absl::Duration useful) {
  Awaited& awaited = awaited_[variant.entry];
  if (awaited.loads == 0) AddLoad(awaited, LoadJob{variant.entry, IdOf(variant), use, 0, useful});
}

void Pool::AddLoad(Awaited& awaited, LoadJob job) {
  awaited.id = job.id;
  awaited.lost.clear();
  ++awaited.loads;
  loads_.push_back(std::move(job));
}

std::vector<LoadJob> Pool::TakeLoads() { return std::exchange(loads_, {}); }

void Pool::FinishLoad(absl::Time now, const LoadJob& job, Loaded loaded) {
  Expire(now);
  if (key_of_.contains(job.entry) && !InHost(job.entry)) {
    const absl::Status taken = loaded.record.ok() ? TakeIn(job, *loaded.record) : loaded.record.status();
    if (!taken.ok()) {
      // How full the pool is with others' chunks is nothing that a tenant may read.
      const std::string why = loaded.record.ok() ? "there is no room for it"
                                                 : absl::StrCat(TierMissName(loaded.miss), ": ", taken.message());
      awaited_.at(job.entry).lost = absl::StrCat("the ", TierName(loaded.tier), " tier had it; ", why);
      // One that may still come is asked for again by the next plan.
      const bool is_gone = !loaded.record.ok() && (loaded.miss == TierMiss::kAbsent || IsWrongBytes(loaded.miss));
      if (is_gone && !lower_->Where(job.id).has_value()) Lose(job.entry);
    }
  }
  const auto found = awaited_.find(job.entry);
  DECANT_CHECK(found != awaited_.end() && found->second.loads > 0);
  found->second.asked_by.erase(job.lease);
  if (--found->second.loads == 0 && found->second.holds == 0) awaited_.erase(found);
}

// As if it had been published now, by whoever wants it.
absl::Status Pool::TakeIn(const LoadJob& job, const Record& record) {
  const Digest key = key_of_.at(job.entry);
  Variant variant = index_.Get(*index_.FindEntry(key, job.entry));
  int32_t layers = 0;
  for (const LayerBlob& frame : record.frames) {
    if (frame.first_layer != layers || frame.layers <= 0) return absl::DataLossError("its layers are not in a row");
    layers += frame.layers;
  }
  EvictionFacts facts;
  facts.key = key.Prefix64();
  facts.depth = variant.first_token;
  for (const VariantId parent : index_.Find(variant.parent, variant.tenant)) {
    facts.prefix_uses = std::max(facts.prefix_uses, tier_.UsesOf(index_.record(parent).entry));
  }
  facts.use = job.use;
  facts.use.operation = ++operations_;  // it may take the place of whatever was used before it came
  LeaveBelow(variant);                  // it counts once: where it is going to be
  int64_t bytes = HostTier::kEntryOverheadBytes;
  for (const LayerBlob& frame : record.frames) bytes += frame.blob.bytes() + HostTier::kBlobOverheadBytes;
  MakeRoomBelow(variant.tenant, bytes);
  absl::Status added = tier_.StageAs(job.entry, layers, facts, variant.tenant);
  for (size_t i = 0; i < record.frames.size() && added.ok(); ++i) added = tier_.Add(job.entry, record.frames[i]);
  if (added.ok()) added = tier_.Commit(job.entry);
  if (!added.ok()) {
    tier_.Drop(job.entry);
    EnterBelow(variant);
  }
  ForgetEvicted();
  DECANT_RETURN_IF_ERROR(added);
  index_.Move(key, job.entry, Tier::kHost);
  variant.tier = Tier::kHost;
  ++sums_.moved_up;
  Awaited& awaited = awaited_.at(job.entry);
  for (; awaited.holds > 0; --awaited.holds) tier_.Hold(job.entry);
  DescribeToPolicy(variant);
  Tell(ChunkEventKind::kMoved, variant);
  return absl::OkStatus();
}

}  // namespace decant
