// Hints: wishes about stored chunks of one tenant, executed as far as its budget and everybody's right to progress
// allow. No hint pins anything.
#include "services/pool/pool_hints.h"

#include <algorithm>
#include <optional>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/pool/pool.h"

namespace decant {
namespace {

constexpr int32_t kFirstToGo = 0;           // priority
constexpr size_t kMostCompressions = 4096;  // of a tenant, that wait
constexpr size_t kMostLoads = 1024;

HintReceipt Refused(HintReceipt receipt, std::string why) {
  receipt.outcome = HintOutcome::kRefused;
  receipt.reason = std::move(why);
  receipt.chunks = 0;
  receipt.bytes = 0;
  return receipt;
}

}  // namespace

// Entries of the tenant's chunks in host memory, in the order of the keys, each once.
std::vector<uint64_t> Pool::EntriesOf(uint32_t tenant, absl::Span<const Digest> keys, bool all_tiers) const {
  std::vector<uint64_t> entries;
  absl::flat_hash_set<Digest> seen;
  for (const Digest& key : keys) {
    if (!seen.insert(key).second) continue;
    for (const VariantId id : index_.Find(key, tenant)) {
      if (all_tiers || index_.record(id).tier == Tier::kHost) entries.push_back(index_.record(id).entry);
    }
  }
  return entries;
}

std::vector<HintReceipt> Pool::TakeHints(absl::Time now, const std::string& tenant, absl::Span<const Hint> hints) {
  Expire(now);
  std::vector<HintReceipt> receipts;
  const uint32_t number = tier_.tenants().Find(tenant);
  for (const Hint& hint : hints) {
    receipts.push_back(TakeHint(now, number, hint));
    const HintOutcome outcome = receipts.back().outcome;
    sums_.hints_accepted += outcome == HintOutcome::kAccepted ? 1 : 0;
    sums_.hints_executed += outcome == HintOutcome::kExecuted ? 1 : 0;
    sums_.hints_refused += outcome == HintOutcome::kRefused ? 1 : 0;
  }
  return receipts;
}

HintReceipt Pool::TakeHint(absl::Time now, uint32_t tenant, const Hint& hint) {
  HintReceipt receipt;
  receipt.action_id = hint.action_id;
  receipt.kind = hint.kind;
  receipt.outcome = HintOutcome::kExecuted;
  // Another tenant's chunks, chunks that were forgotten and chunks that never were are all the same here.
  const bool wherever = hint.kind == HintKind::kPrefetch || (hint.kind == HintKind::kRelease && hint.drop);
  const std::vector<uint64_t> entries = EntriesOf(tenant, hint.keys, wherever);
  if (entries.empty()) {
    const bool below = !wherever && !EntriesOf(tenant, hint.keys, true).empty();
    return Refused(std::move(receipt),
                   below ? "these chunks are in lower tiers only; prefetch them" : "none of these chunks is stored");
  }
  switch (hint.kind) {
    case HintKind::kRetain:
      return Retain(now, tenant, hint, entries, std::move(receipt));
    case HintKind::kRelease:
      return ReleaseRetained(hint, entries, std::move(receipt));
    case HintKind::kDemote:
      return Demote(now, tenant, entries, std::move(receipt));
    case HintKind::kCompress:
      return Compress(tenant, hint, entries, std::move(receipt));
    case HintKind::kPrefetch:
      return PrefetchHinted(tenant, hint, std::move(receipt));
    case HintKind::kUnspecified:
      break;
  }
  return Refused(std::move(receipt), "an action of an unknown kind");
}

HintReceipt Pool::Retain(absl::Time now, uint32_t tenant, const Hint& hint, absl::Span<const uint64_t> entries,
                         HintReceipt receipt) {
  const int64_t budget = tier_.tenants().terms(tenant).retention_budget_bytes;
  receipt.priority = hint.priority;
  receipt.duration = absl::InfiniteDuration();
  for (const uint64_t entry : entries) {
    const int64_t bytes = tier_.ChargeOf(entry);
    const absl::StatusOr<RetentionReceipt> kept =
        retention_.Retain(now, entry, tenant, bytes, budget, hint.priority, hint.duration);
    if (!kept.ok()) return Refused(std::move(receipt), std::string(kept.status().message()));
    tier_.SetPriority(entry, kept->priority);
    if (!kept->clamped.empty()) {
      receipt.clamped = true;
      receipt.reason = kept->clamped;
    }
    if (kept->priority != hint.priority) continue;
    receipt.duration = std::min(receipt.duration, kept->until - now);
    receipt.bytes += bytes;
    ++receipt.chunks;
  }
  if (receipt.chunks == 0) {
    receipt.priority = kDefaultPriority;
    receipt.duration = absl::ZeroDuration();
    return Refused(std::move(receipt), receipt.reason);
  }
  return receipt;
}

// In every tier, and for good.
void Pool::ForgetEverywhere(uint64_t entry) {
  const Digest key = key_of_.at(entry);
  const Variant variant = index_.Get(*index_.FindEntry(key, entry));
  if (lower_ != nullptr) lower_->Erase(IdOf(variant));
  if (!InHost(entry)) return Lose(entry);
  retention_.Forget(entry);
  tier_.Drop(entry);
  index_.Erase(key, entry);
  key_of_.erase(entry);
  Tell(ChunkEventKind::kRemoved, variant);
}

HintReceipt Pool::ReleaseRetained(const Hint& hint, absl::Span<const uint64_t> entries, HintReceipt receipt) {
  int32_t read = 0;
  for (const uint64_t entry : entries) {
    const bool retained = retention_.Forget(entry);
    if (retained) tier_.SetPriority(entry, kDefaultPriority);
    const bool drops = hint.drop && !IsRead(entry);
    if (hint.drop && !drops) ++read;
    if (!retained && !drops) continue;
    receipt.bytes +=
        InHost(entry) ? tier_.ChargeOf(entry) : index_.record(*index_.FindEntry(key_of_.at(entry), entry)).bytes;
    ++receipt.chunks;
    if (drops) ForgetEverywhere(entry);
  }
  if (read > 0) {
    receipt.clamped = true;
    receipt.reason = absl::StrCat(read, " of them are being read and stay");
  }
  if (receipt.chunks == 0 && receipt.reason.empty()) receipt.reason = "none of them was retained";
  return receipt;
}

// To a lower tier where there is one that has them, or that takes what host memory forgets.
HintReceipt Pool::Demote(absl::Time now, uint32_t tenant, absl::Span<const uint64_t> entries, HintReceipt receipt) {
  int32_t first_to_go = 0;
  for (const uint64_t entry : entries) {
    const RecordId id = IdOf(index_.Get(*index_.FindEntry(key_of_.at(entry), entry)));
    const int64_t bytes = tier_.ChargeOf(entry);
    receipt.bytes += bytes;
    ++receipt.chunks;
    const bool below = lower_ != nullptr && below_ < limits_.below &&
                       (lower_->Heeds(HostEvent::kEvicted) || lower_->Where(id).has_value());
    if (below && !IsRead(entry)) {
      RemoveEntry(entry);
      continue;
    }
    const absl::StatusOr<RetentionReceipt> last =
        retention_.Retain(now, entry, tenant, bytes, 0, kFirstToGo, limits_.longest_retention);
    if (last.ok()) {
      tier_.SetPriority(entry, last->priority);
      receipt.duration = last->until - now;
      ++first_to_go;
    }
  }
  if (first_to_go > 0) {
    receipt.clamped = true;
    receipt.reason = absl::StrCat(first_to_go, " of them are in no lower tier or being read: they are the first to go");
  }
  return receipt;
}

// Of each chunk the best form that is stored.
HintReceipt Pool::PrefetchHinted(uint32_t tenant, const Hint& hint, HintReceipt receipt) {
  EntryUse use;
  use.operation = ++operations_;
  use.counts = false;
  absl::flat_hash_set<Digest> seen;
  for (const Digest& key : hint.keys) {
    if (!seen.insert(key).second) continue;
    std::optional<VariantId> best;
    bool in_host = false;
    for (const VariantId id : index_.Find(key, tenant)) {
      in_host |= index_.record(id).tier == Tier::kHost;
      if (!best.has_value() || index_.record(*best).quality < index_.record(id).quality) best = id;
    }
    if (in_host || !best.has_value()) continue;
    if (loads_.size() >= kMostLoads) {
      receipt.clamped = true;
      receipt.reason = absl::StrCat(kMostLoads, " chunks are loaded by one call at most");
      break;
    }
    receipt.bytes += index_.record(*best).bytes;
    ++receipt.chunks;
    ReadAhead(index_.Get(*best), use, hint.deadline);
  }
  if (receipt.chunks > 0) {
    receipt.outcome = HintOutcome::kAccepted;
  } else {
    receipt.reason = "they are in host memory already";
  }
  return receipt;
}

HintReceipt Pool::Compress(uint32_t tenant, const Hint& hint, absl::Span<const uint64_t> entries, HintReceipt receipt) {
  if (limits_.eviction != PoolEviction::kLadder)
    return Refused(std::move(receipt), "this pool re-encodes nothing: it has no ladder");
  int32_t cheaper = 0;
  int32_t others = 0;
  for (const uint64_t entry : entries) {
    const auto at = LadderOf(tenant).RungOf(entry);
    const auto rungs = at.has_value() ? LadderOf(tenant).rungs(at->first) : absl::Span<const Rung>();
    const auto target =
        std::find_if(rungs.begin(), rungs.end(), [&](const Rung& rung) { return rung.name == hint.profile; });
    if (target == rungs.end()) {
      ++others;
      continue;
    }
    const auto rung = static_cast<size_t>(target - rungs.begin());
    if (rung <= at->second) {
      ++cheaper;
      continue;
    }
    std::deque<LadderJob>& wished = wished_[tenant];
    if (wished.size() >= kMostCompressions) {
      receipt.clamped = true;
      receipt.reason = absl::StrCat(wished.size(), " chunks wait to be re-encoded already; ask again later");
      break;
    }
    const std::optional<LadderStep> step = LadderOf(tenant).PlanOne(entry, rung);
    if (!step.has_value()) {
      ++others;
      continue;
    }
    receipt.bytes += tier_.ChargeOf(entry);
    ++receipt.chunks;
    wished.push_back(JobOf(tenant, *step));
  }
  if (receipt.chunks > 0) {
    receipt.outcome = HintOutcome::kAccepted;
    receipt.clamped |= others > 0;
    return receipt;
  }
  if (cheaper > 0 && others == 0 && !receipt.clamped) {
    receipt.reason = "they have this form or a cheaper one already";
    return receipt;
  }
  if (receipt.clamped) {
    std::string why = receipt.reason;
    return Refused(std::move(receipt), std::move(why));
  }
  return Refused(std::move(receipt),
                 absl::StrCat("'", hint.profile, "' is no cheaper form of these chunks on this pool's ladder: ",
                              absl::StrJoin(limits_.ladder, ", ")));
}

}  // namespace decant
