// Invariants: bytes_ is the sum of charges and <= capacity_bytes_; a tenant's charges are what its table says and <=
// its quota; its state's free holds exactly its entries with holds == 0.
#include "common/store/host_tier.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/store/lru.h"

namespace decant {

HostTier::HostTier(int64_t capacity_bytes, MakePolicy make_policy, TenantTable tenants)
    : capacity_bytes_(capacity_bytes), make_policy_(std::move(make_policy)), tenants_(std::move(tenants)) {}

HostTier::TenantState& HostTier::StateOf(uint32_t tenant) {
  if (states_.size() <= tenant) states_.resize(size_t{tenant} + 1);
  TenantState& state = states_[tenant];
  if (state.policy == nullptr) state.policy = make_policy_ ? make_policy_() : std::make_unique<LruEviction>();
  return state;
}

// ---- Room.

// Bytes of a tenant that the newcomer may displace; no more are counted than are enough.
int64_t HostTier::Freeable(const TenantState& state, const Newcomer& newcomer, int64_t enough) const {
  int64_t bytes = 0;
  for (const EvictionOrder& order : state.free) {
    if (bytes >= enough || !Displaces(newcomer, order)) break;
    bytes += entries_.find(order.entry)->second.charge;
  }
  return bytes;
}

// A tenant gives to itself, and to another while it holds more per weight than that one then would.
bool HostTier::GivesTo(uint32_t tenant, const Newcomer& newcomer) const {
  if (tenant >= states_.size() || states_[tenant].free.empty()) return false;
  if (!Displaces(newcomer, *states_[tenant].free.begin())) return false;
  if (tenant == newcomer.tenant) return true;
  const auto level = static_cast<double>(tenants_.bytes(newcomer.tenant) + newcomer.bytes);
  return static_cast<double>(tenants_.bytes(tenant)) / tenants_.terms(tenant).weight >
         level / tenants_.terms(newcomer.tenant).weight;
}

bool HostTier::EvictOne(uint32_t tenant, const Newcomer& newcomer) {
  const std::optional<uint64_t> victim =
      StateOf(tenant).policy->Evict([&](uint64_t entry) { return MayDisplace(entry, newcomer.depth, newcomer.use); });
  if (!victim.has_value()) return false;
  Entry& entry = entries_.find(*victim)->second;
  ForgottenEntry forgotten{*victim, {}};
  if (entry.committed) forgotten.frames = std::move(entry.frames);
  Remove(*victim);
  forgotten_.push_back(std::move(forgotten));
  return true;
}

// Either makes the room or changes nothing: a newcomer that does not fit displaces nobody. (Where several tenants meet
// at the edge of their shares, room for less than an entry may be found wanting only once another has gone.)
absl::Status HostTier::MakeRoom(const Newcomer& newcomer) {
  const TenantTerms& terms = tenants_.terms(newcomer.tenant);
  int64_t over_quota = tenants_.OverQuota(newcomer.tenant, newcomer.bytes);
  int64_t missing = bytes_ + newcomer.bytes - capacity_bytes_;
  if (over_quota <= 0 && missing <= 0) return absl::OkStatus();
  TenantState& own = StateOf(newcomer.tenant);
  if (over_quota > 0 && Freeable(own, newcomer, over_quota) < over_quota) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no room for ", newcomer.bytes, " bytes within the quota of ", terms.quota_bytes, ", of which ",
                     tenants_.bytes(newcomer.tenant) + tenants_.bytes_below(newcomer.tenant), " are used"));
  }
  int64_t freeable = 0;
  for (uint32_t tenant = 0; tenant < states_.size() && freeable < missing; ++tenant) {
    if (GivesTo(tenant, newcomer)) freeable += Freeable(states_[tenant], newcomer, missing - freeable);
  }
  while (freeable >= missing && (over_quota > 0 || missing > 0)) {
    const uint32_t giver =
        over_quota > 0 ? newcomer.tenant : tenants_.WhoGives(newcomer.tenant, newcomer.bytes, [&](uint32_t tenant) {
          return GivesTo(tenant, newcomer);
        });
    if (giver == tenants_.size() || !EvictOne(giver, newcomer)) break;
    over_quota = tenants_.OverQuota(newcomer.tenant, newcomer.bytes);
    missing = bytes_ + newcomer.bytes - capacity_bytes_;
  }
  if (over_quota <= 0 && missing <= 0) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("no room for ", newcomer.bytes, " bytes: ", bytes_, " of ",
                                                   capacity_bytes_, " are used, ", held_bytes_,
                                                   " of them leased; raise --pool-bytes or wait for leases to end"));
}

void HostTier::Charge(Entry& entry, int64_t bytes) {
  entry.charge += bytes;
  bytes_ += bytes;
  if (entry.holds > 0) held_bytes_ += bytes;
  tenants_.Charge(entry.tenant, bytes);
}

void HostTier::Remove(uint64_t id) {
  const auto found = entries_.find(id);
  Charge(found->second, -found->second.charge);
  TenantState& state = StateOf(found->second.tenant);
  state.free.erase(OrderOf(id, found->second));
  state.policy->Forget(id);
  entries_.erase(found);
}

bool HostTier::MayDisplace(uint64_t id, int32_t depth, uint64_t operation) const {
  const auto found = entries_.find(id);
  if (found == entries_.end() || found->second.holds > 0) return false;
  return Displaces(Newcomer{found->second.tenant, depth, operation, 0}, OrderOf(id, found->second));
}

// ---- Entries.

absl::StatusOr<uint64_t> HostTier::Stage(int32_t layers, int32_t depth, uint64_t operation) {
  EvictionFacts facts;
  facts.depth = depth;
  facts.use.operation = operation;
  return Stage(layers, facts);
}

absl::StatusOr<uint64_t> HostTier::Stage(int32_t layers, const EvictionFacts& facts, uint32_t tenant) {
  const uint64_t id = NewEntry();
  DECANT_RETURN_IF_ERROR(StageAs(id, layers, facts, tenant));
  return id;
}

absl::Status HostTier::StageAs(uint64_t id, int32_t layers, const EvictionFacts& facts, uint32_t tenant) {
  if (layers <= 0) return absl::InvalidArgumentError(absl::StrCat("a chunk of ", layers, " layers cannot be stored"));
  DECANT_RETURN_IF_ERROR(MakeRoom(Newcomer{tenant, facts.depth, facts.use.operation, kEntryOverheadBytes}));
  Entry entry;
  entry.layers = layers;
  entry.depth = facts.depth;
  entry.tenant = tenant;
  entry.use = facts.use.operation;
  entry.frames.reserve(static_cast<size_t>(layers));
  Charge(entry, kEntryOverheadBytes);
  TenantState& state = StateOf(tenant);
  state.free.insert(OrderOf(id, entry));
  state.policy->Track(id, facts);
  entries_.emplace(id, std::move(entry));
  return absl::OkStatus();
}

absl::Status HostTier::Add(uint64_t id, LayerBlob frame) {
  auto found = entries_.find(id);
  if (found == entries_.end()) return absl::NotFoundError(absl::StrCat("entry ", id, " is gone: its room was needed"));
  if (found->second.committed) return absl::FailedPreconditionError(absl::StrCat("entry ", id, " is complete"));
  if (frame.first_layer < 0 || frame.layers <= 0 || frame.first_layer > found->second.layers - frame.layers) {
    return absl::InvalidArgumentError(absl::StrCat("layers ", frame.first_layer, "+", frame.layers, " of a chunk with ",
                                                   found->second.layers, " layers"));
  }
  const auto overlaps = [&](const LayerBlob& other) {
    return frame.first_layer < other.first_layer + other.layers && other.first_layer < frame.first_layer + frame.layers;
  };
  if (std::any_of(found->second.frames.begin(), found->second.frames.end(), overlaps)) {
    return absl::AlreadyExistsError(
        absl::StrCat("a frame of layers ", frame.first_layer, "+", frame.layers, " came twice"));
  }
  const int64_t charge = frame.blob.bytes() + kBlobOverheadBytes;
  DECANT_RETURN_IF_ERROR(MakeRoom(Newcomer{found->second.tenant, found->second.depth, found->second.use, charge}));
  found = entries_.find(id);  // never a victim: it is not deeper than itself
  Entry& entry = found->second;
  Charge(entry, charge);
  entry.covered += frame.layers;
  const auto place = std::upper_bound(entry.frames.begin(), entry.frames.end(), frame.first_layer,
                                      [](int32_t layer, const LayerBlob& other) { return layer < other.first_layer; });
  entry.frames.insert(place, std::move(frame));
  return absl::OkStatus();
}

bool HostTier::Complete(uint64_t id) const {
  const auto found = entries_.find(id);
  return found != entries_.end() && found->second.covered == found->second.layers;
}

absl::Status HostTier::Commit(uint64_t id) {
  const auto found = entries_.find(id);
  if (found == entries_.end()) return absl::NotFoundError(absl::StrCat("entry ", id, " is gone: its room was needed"));
  if (found->second.covered != found->second.layers) {
    return absl::FailedPreconditionError(
        absl::StrCat(found->second.covered, " of ", found->second.layers, " layers have arrived"));
  }
  found->second.committed = true;
  return absl::OkStatus();
}

absl::Span<const LayerBlob> HostTier::Frames(uint64_t id) const {
  const auto found = entries_.find(id);
  if (found == entries_.end() || !found->second.committed) return {};
  return found->second.frames;
}

int64_t HostTier::FrameBytes(uint64_t id) const {
  const auto found = entries_.find(id);
  if (found == entries_.end()) return 0;
  int64_t bytes = 0;
  for (const LayerBlob& frame : found->second.frames) bytes += frame.blob.bytes();
  return bytes;
}

absl::Status HostTier::Replace(uint64_t id, std::vector<LayerBlob> frames) {
  const auto found = entries_.find(id);
  if (found == entries_.end()) return absl::NotFoundError(absl::StrCat("entry ", id, " is gone: its room was needed"));
  Entry& entry = found->second;
  if (!entry.committed || entry.holds > 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("entry ", id, entry.committed ? " is leased" : " is not complete"));
  }
  int32_t covered = 0;
  int64_t charge = kEntryOverheadBytes;
  for (const LayerBlob& frame : frames) {
    if (frame.first_layer != covered || frame.layers <= 0) break;
    covered += frame.layers;
    charge += frame.blob.bytes() + kBlobOverheadBytes;
  }
  if (covered != entry.layers || charge > entry.charge) {
    return absl::InvalidArgumentError(absl::StrCat("frames in place of entry ", id, " cover ", covered, " of ",
                                                   entry.layers, " layers in ", charge, " bytes; it has ",
                                                   entry.charge));
  }
  Charge(entry, charge - entry.charge);
  entry.frames = std::move(frames);
  return absl::OkStatus();
}

void HostTier::Use(uint64_t id, const EntryUse& use) {
  const auto found = entries_.find(id);
  if (found == entries_.end() || found->second.use >= use.operation) return;
  Entry& entry = found->second;
  TenantState& state = StateOf(entry.tenant);
  if (entry.holds == 0) state.free.erase(OrderOf(id, entry));
  entry.use = use.operation;
  entry.uses += use.counts ? 1 : 0;
  if (entry.holds == 0) state.free.insert(OrderOf(id, entry));
  state.policy->Touch(id, use);
}

void HostTier::SetPriority(uint64_t id, int32_t priority) {
  if (const auto found = entries_.find(id); found != entries_.end()) {
    StateOf(found->second.tenant).policy->SetPriority(id, priority);
  }
}

void HostTier::Hold(uint64_t id) {
  const auto found = entries_.find(id);
  if (found == entries_.end() || found->second.holds++ > 0) return;
  TenantState& state = StateOf(found->second.tenant);
  state.free.erase(OrderOf(id, found->second));
  state.policy->Hold(id);
  held_bytes_ += found->second.charge;
}

void HostTier::LetGo(uint64_t id) {
  const auto found = entries_.find(id);
  if (found == entries_.end() || found->second.holds == 0) return;
  if (--found->second.holds > 0) return;
  TenantState& state = StateOf(found->second.tenant);
  state.free.insert(OrderOf(id, found->second));
  state.policy->LetGo(id);
  held_bytes_ -= found->second.charge;
}

void HostTier::Drop(uint64_t id) {
  if (entries_.contains(id)) Remove(id);
}

int64_t HostTier::ChargeOf(uint64_t id) const {
  const auto found = entries_.find(id);
  return found == entries_.end() ? 0 : found->second.charge;
}

uint32_t HostTier::UsesOf(uint64_t id) const {
  const auto found = entries_.find(id);
  return found == entries_.end() ? 0 : found->second.uses;
}

bool HostTier::IsHeld(uint64_t id) const {
  const auto found = entries_.find(id);
  return found != entries_.end() && found->second.holds > 0;
}

std::vector<ForgottenEntry> HostTier::TakeForgotten() { return std::exchange(forgotten_, {}); }

int64_t HostTier::SumBytes() const {
  int64_t sum = 0;
  for (const auto& [id, entry] : entries_) {
    sum += kEntryOverheadBytes;
    for (const LayerBlob& frame : entry.frames) sum += frame.blob.bytes() + kBlobOverheadBytes;
  }
  return sum;
}

}  // namespace decant
