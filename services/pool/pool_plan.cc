// Plan: match the prefix that each shareable form could use, price, choose, lease.
//
// One reply carries one prefix. So the best pair chooses freely; the others are then offered what their profiles can
// take of that prefix.
#include <algorithm>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/index/keys.h"
#include "common/policy/placement.h"
#include "common/policy/profile_facts.h"
#include "services/pool/pool.h"

namespace decant {
namespace {

constexpr size_t kMostCandidates = 256;
constexpr int32_t kMostLayers = 1024;

constexpr size_t kMostLineups = 64;  // geometries come from outside

absl::StatusOr<PlanLineup> LineUp(const PoolModel& model, const Catalogue& catalogue, const ProfileTable* table) {
  PlanLineup lineup;
  for (const std::string& name : catalogue.Names()) {
    DECANT_ASSIGN_OR_RETURN(const Profile profile, catalogue.FindFor(name, model.fingerprint));
    absl::StatusOr<ProfileFacts> facts = FactsOf(profile, model.geometry, model.run_type, model.fingerprint, table);
    if (!facts.ok()) continue;  // e.g. a head_dim that its format does not allow
    DECANT_ASSIGN_OR_RETURN(const Profile form,
                            catalogue.FindFor(profile.shareable.empty() ? name : profile.shareable, model.fingerprint));
    DECANT_ASSIGN_OR_RETURN(const Recipe recipe, Compile(profile, model.geometry, model.run_type));
    const absl::StatusOr<Recipe> stored = Compile(form, model.geometry, model.run_type);
    const bool forwards =
        stored.ok() && recipe.forwards_prefix() &&
        (stored->high == recipe.high || stored->high == recipe.low || stored->high == recipe.prefix_format());
    lineup.facts.push_back(*std::move(facts));
    lineup.forms.push_back(form.digest);
    lineup.forwarded.push_back(forwards ? form.digest : Digest());
  }
  if (lineup.facts.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("no profile works on model '", model.name, "' with head_dim ", model.geometry.head_dim));
  }
  return lineup;
}

// By prefill's rule (services/prefill/prefix_plan.h): chunks of the profile's own form or of its shareable one are
// forwarded from the front on, behind encoded ones only its own where it has no other; all others are encoded anew. Of
// two lossy encodings one after the other no more is promised than the product of what each keeps.
PrefixOffer OfferOf(const ChunkIndex& index, absl::Span<const VariantId> prefix, const ProfileFacts& facts,
                    const Digest& forwarded, const PoolLimits& limits) {
  PrefixOffer offer;
  offer.exact = std::all_of(prefix.begin(), prefix.end(), [&](VariantId id) { return index.record(id).exact(); });
  offer.chunks = static_cast<int64_t>(prefix.size());
  for (const VariantId id : prefix) {
    const VariantRecord& variant = index.record(id);
    offer.tokens += variant.tokens;
    offer.bytes += variant.bytes;
    const bool own = index.IsOfForm(id, facts.digest);
    const bool forwards = offer.encoded_tokens == 0 ? own || index.IsOfForm(id, forwarded) : own && facts.all_high;
    if (forwards) {
      offer.forwarded_bytes += variant.bytes;
    } else {
      offer.encoded_tokens += variant.tokens;
    }
    const bool twice = !forwards && !variant.exact();
    offer.quality = std::min(offer.quality, variant.quality * (twice ? facts.quality.value_or(0) : 1));
    const auto bytes = static_cast<double>(variant.bytes);
    if (variant.tier == Tier::kDisk) offer.load_s += bytes / limits.disk_bytes_per_s;
    if (variant.tier == Tier::kRemote) offer.load_s += bytes / limits.remote_bytes_per_s;
  }
  return offer;
}

size_t ExactChunks(const ChunkIndex& index, absl::Span<const VariantId> prefix) {
  const auto lossy =
      std::find_if(prefix.begin(), prefix.end(), [&](VariantId id) { return !index.record(id).exact(); });
  return static_cast<size_t>(lossy - prefix.begin());
}

// Best first.
void SortOffers(const PlanDemand& demand, absl::Span<PairOffer> offers) {
  std::vector<PairMerit> merits;
  for (size_t i = 0; i < offers.size(); ++i) {
    const ProfileChoice& choice = offers[i].choice;
    PairMerit merit;
    merit.pair = &demand.candidates[static_cast<size_t>(offers[i].candidate)];
    merit.index = i;
    merit.standing = (choice.has_room ? 0 : 2) + (choice.keeps_pace ? 0 : 1);
    merit.ttft_ms = choice.predicted_ttft_ms;
    merit.queue_ms = choice.queue_ms;
    merit.quality = choice.quality;
    merits.push_back(merit);
  }
  SortPairs(demand.request_id, merits);
  std::vector<PairOffer> sorted;
  for (const PairMerit& merit : merits) sorted.push_back(std::move(offers[merit.index]));
  std::move(sorted.begin(), sorted.end(), offers.begin());
}

}  // namespace

// Compiling the whole catalogue costs more than a plan.
absl::StatusOr<PlanLineup> Pool::LineupOf(const PoolModel& model) {
  const Geometry& g = model.geometry;
  const std::string place = absl::StrCat(model.fingerprint.Hex(), " ", g.layers, " ", g.q_heads, " ", g.kv_heads, " ",
                                         g.head_dim, " ", static_cast<int>(model.run_type));
  if (const auto found = lineups_.find(place); found != lineups_.end()) return found->second;
  DECANT_ASSIGN_OR_RETURN(PlanLineup lineup, LineUp(model, catalogue_, tables_.For(model.fingerprint)));
  if (lineups_.size() >= kMostLineups) lineups_.clear();
  return lineups_.emplace(place, std::move(lineup)).first->second;
}

absl::Status Pool::CheckDemand(const PlanDemand& demand) const {
  const Geometry& geometry = demand.model.geometry;
  if (demand.prompt_tokens < 1 || demand.max_tokens < 0 || demand.chunk_tokens < 1) {
    return absl::InvalidArgumentError(absl::StrCat("a prompt of ", demand.prompt_tokens, " tokens in chunks of ",
                                                   demand.chunk_tokens, " with ", demand.max_tokens, " to generate"));
  }
  if (demand.chunk_tokens > kMaxFrameSpan) {
    return absl::InvalidArgumentError(
        absl::StrCat("chunks of ", demand.chunk_tokens, " tokens; a frame holds at most ", kMaxFrameSpan));
  }
  if (static_cast<int64_t>(demand.chunk_keys.size()) > demand.prompt_tokens / demand.chunk_tokens) {
    return absl::InvalidArgumentError(absl::StrCat(demand.chunk_keys.size(), " keys for ", demand.prompt_tokens,
                                                   " tokens in chunks of ", demand.chunk_tokens));
  }
  if (demand.model.fingerprint.IsZero() || geometry.layers < 1 || geometry.layers > kMostLayers ||
      geometry.kv_heads < 1 || geometry.head_dim < 1) {
    return absl::InvalidArgumentError(absl::StrCat("model '", demand.model.name, "' with ", geometry.layers,
                                                   " layers, ", geometry.kv_heads, " kv heads of ", geometry.head_dim));
  }
  if (demand.candidates.empty() || demand.candidates.size() > kMostCandidates) {
    return absl::InvalidArgumentError(
        absl::StrCat(demand.candidates.size(), " candidate pairs; name from 1 to ", kMostCandidates));
  }
  if (demand.profile.empty()) return absl::OkStatus();
  const absl::Status found = catalogue_.Find(demand.profile).status();
  return found.ok() ? found : absl::InvalidArgumentError(found.message());
}

absl::StatusOr<PlanOffer> Pool::PriceAndChoose(const PlanDemand& demand) {
  DECANT_ASSIGN_OR_RETURN(PlanLineup lineup, LineupOf(demand.model));
  // By form, whether only exact chunks will do, and the tokens that are computed anyway.
  std::map<std::tuple<Digest, bool, int32_t>, PrefixMatch> matches;
  std::vector<const PrefixMatch*> match_of;
  PrefixMatch nothing;
  nothing.miss_reason = "the profile leaves tokens behind in prefill, which therefore computes all of them";
  for (size_t i = 0; i < lineup.facts.size(); ++i) {
    ProfileFacts& facts = lineup.facts[i];
    if (!facts.takes_prefix) {
      match_of.push_back(&nothing);
      continue;
    }
    const auto [match, is_new] = matches.try_emplace({lineup.forms[i], facts.exact, facts.least_computed});
    if (is_new && leases_.HeldBy(demand.tenant) >= limits_.leases) {
      match->second.miss_reason = absl::StrCat("all ", limits_.leases, " leases are taken");
    } else if (is_new) {
      PrefixWant want;
      want.model = demand.model.fingerprint;
      want.tenant = tier_.tenants().Find(demand.tenant);
      want.prompt_tokens = demand.prompt_tokens;
      want.chunk_tokens = demand.chunk_tokens;
      want.least_computed = facts.least_computed;
      want.floor = facts.exact ? 1 : demand.floor;  // full precision is a promise about the prefix too
      want.form = lineup.forms[i];
      match->second = index_.MatchPrefix(demand.chunk_keys, want);
    }
    match_of.push_back(&match->second);
    facts.offer = OfferOf(index_, match->second.chunks, facts, lineup.forwarded[i], limits_);
  }

  ProfileQuestion question;
  question.geometry = demand.model.geometry;
  question.prompt_tokens = demand.prompt_tokens;
  question.max_tokens = demand.max_tokens;
  question.floor = demand.floor;
  question.named = demand.profile;
  question.ttft_ms = demand.ttft_ms;
  question.tpot_ms = demand.tpot_ms;
  question.fetch_bits_per_s = limits_.fetch_bits_per_s;
  question.chunk_tokens = demand.chunk_tokens;
  DECANT_RETURN_IF_ERROR(CheckFloor(question, lineup.facts));
  PlanOffer offer;
  for (size_t i = 0; i < demand.candidates.size(); ++i) {
    const PairCandidate& pair = demand.candidates[i];
    if (pair.prefill_load.draining || pair.decode_load.draining) continue;
    DECANT_ASSIGN_OR_RETURN(ProfileChoice choice, ChooseProfile(question, lineup.facts, pair, observations_));
    offer.pairs.push_back(PairOffer{static_cast<int32_t>(i), std::move(choice)});
  }
  if (offer.pairs.empty()) return absl::UnavailableError("every candidate pair has a worker that is draining");
  SortOffers(demand, absl::MakeSpan(offer.pairs));

  const std::string& chosen = offer.pairs.front().choice.profile;
  const auto facts = std::find_if(lineup.facts.begin(), lineup.facts.end(),
                                  [&](const ProfileFacts& candidate) { return candidate.name == chosen; });
  const PrefixMatch& match = *match_of[static_cast<size_t>(facts - lineup.facts.begin())];
  for (const VariantId id : match.chunks) offer.prefix.push_back(index_.Get(id));
  offer.miss_reason = match.miss_reason;
  if (offer.pairs.size() == 1) return offer;
  for (size_t i = 0; i < lineup.facts.size(); ++i) {
    auto prefix = absl::MakeConstSpan(match.chunks);
    prefix = prefix.first(std::min(prefix.size(), match_of[i]->chunks.size()));
    if (lineup.facts[i].exact) prefix = prefix.first(ExactChunks(index_, prefix));
    lineup.facts[i].offer = OfferOf(index_, prefix, lineup.facts[i], lineup.forwarded[i], limits_);
  }
  for (size_t i = 1; i < offer.pairs.size(); ++i) {
    const PairCandidate& pair = demand.candidates[static_cast<size_t>(offer.pairs[i].candidate)];
    DECANT_ASSIGN_OR_RETURN(offer.pairs[i].choice, ChooseProfile(question, lineup.facts, pair, observations_));
  }
  SortOffers(demand, absl::MakeSpan(offer.pairs).subspan(1));
  return offer;
}

void Pool::LeasePrefix(absl::Time now, const PlanDemand& demand, PlanOffer& offer) {
  int64_t reused = 0;
  for (const PairOffer& pair : offer.pairs) reused = std::max(reused, pair.choice.reused_tokens);
  offer.prefix.resize(static_cast<size_t>(reused / demand.chunk_tokens));
  if (offer.prefix.empty()) return;
  std::vector<uint64_t> entries;
  EntryUse use;
  use.operation = ++operations_;
  use.floor = demand.floor;
  // What is loaded for it is the first that a pool which was started again sees of tenant and model.
  const absl::StatusOr<uint32_t> tenant = tier_.tenants().NumberOf(demand.tenant);
  if (tenant.ok() && limits_.eviction == PoolEviction::kLadder) ScaleOf(*tenant, demand.model);
  for (const Variant& variant : offer.prefix) entries.push_back(variant.entry);
  const absl::StatusOr<uint64_t> lease =
      leases_.Grant(demand.tenant, entries, now + limits_.lease, now + limits_.longest_lease);
  DECANT_CHECK(lease.ok());  // without room for a lease nothing was matched
  for (const Variant& variant : offer.prefix) {
    use.ends = &variant == &offer.prefix.back() && offer.prefix.size() == demand.chunk_keys.size();
    if (variant.tier == Tier::kHost) {
      tier_.Use(variant.entry, use);
      TellLower(HostEvent::kHit, variant);
    } else {
      Await(variant, use, *lease);
    }
  }
  for (const uint64_t entry : entries) Hold(entry);
  offer.lease = *lease;
  offer.lease_time = limits_.lease;
}

// Every chunk asked for counts once: here, or where its load ends.
void Pool::CountLookup(const PlanDemand& demand, const PlanOffer& offer) {
  if (lower_ == nullptr) return;
  const auto in_host = std::count_if(offer.prefix.begin(), offer.prefix.end(),
                                     [](const Variant& variant) { return variant.tier == Tier::kHost; });
  lower_->CountHost(in_host);
  lower_->CountUnknown(static_cast<int64_t>(demand.chunk_keys.size() - offer.prefix.size()));
}

absl::StatusOr<PlanOffer> Pool::Plan(absl::Time now, const PlanDemand& demand) {
  Expire(now);
  DECANT_RETURN_IF_ERROR(CheckDemand(demand));
  DECANT_ASSIGN_OR_RETURN(PlanOffer offer, PriceAndChoose(demand));
  LeasePrefix(now, demand, offer);
  CountLookup(demand, offer);
  const int64_t hit = offer.pairs.front().choice.reused_tokens;
  sums_.lookup_hit_tokens += hit;
  sums_.lookup_miss_tokens += demand.prompt_tokens - hit;
  if (hit == 0 && offer.miss_reason.empty()) {
    const bool short_prompt = ReusableChunks(demand.prompt_tokens, demand.chunk_tokens) == 0;
    offer.miss_reason = short_prompt ? absl::StrCat("the prompt is no longer than one chunk of ", demand.chunk_tokens)
                                     : "computing was cheaper than loading";
  }
  return offer;
}

}  // namespace decant
