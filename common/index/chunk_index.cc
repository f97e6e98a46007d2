// A key commits to all tokens before it, so following keys from token 0 is the walk down a prefix tree: no node needs
// to know its children.
//
// Invariants: a list of places_ is never empty; record 0 and up are in exactly one list or in free_; free ones have no
// tokens.
#include "common/index/chunk_index.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <tuple>
#include <utility>

#include "absl/numeric/int128.h"
#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/random.h"
#include "common/index/keys.h"
#include "common/kv/frame.h"

namespace decant {

// A want with its digests looked up.
struct ChunkIndex::Lookup {
  const PrefixWant* want;
  uint32_t model;
  uint32_t form;
  bool anywhere = false;  // a segment
};

namespace {

constexpr size_t kBatch = 16;  // keys whose memory is waited for together

}  // namespace

// ---- Records.

ChunkIndex::ChunkIndex(uint64_t seed) {
  for (size_t i = 0; i < salts_.size(); ++i) salts_[i] = MixBits(seed, i);
}

// Two products that do not wait for each other, of words that only who knows the seed could choose to cancel out.
uint64_t ChunkIndex::PlaceOf(const Digest& key) const {
  std::array<uint64_t, 4> words;
  std::memcpy(words.data(), key.bytes.data(), sizeof(words));
  const auto fold = [](uint64_t a, uint64_t b) {
    const absl::uint128 product = absl::uint128(a) * absl::uint128(b);
    return absl::Uint128Low64(product) ^ absl::Uint128High64(product);
  };
  return fold(words[0] ^ salts_[0], words[1] ^ salts_[1]) ^ fold(words[2] ^ salts_[2], words[3] ^ salts_[3]);
}

VariantId ChunkIndex::FirstAt(const Digest& key) const {
  const auto found = places_.find(PlaceOf(key));
  return found == places_.end() ? kNone : found->second;
}

// Calls f(id, record) for every variant of the tenant's key until it returns false.
template <typename F>
void ChunkIndex::ForEach(VariantId first, const Digest& key, uint32_t tenant, F f) const {
  for (VariantId id = first; id != kNone; id = record(id).next) {
    ++records_read_;
    if (record(id).key == key && record(id).tenant == tenant && !f(id, record(id))) return;
  }
}

VariantId ChunkIndex::OfEntry(const Digest& key, uint64_t entry) const {
  for (VariantId id = FirstAt(key); id != kNone; id = record(id).next) {
    if (record(id).entry == entry && record(id).key == key) return id;
  }
  return kNone;
}

bool ChunkIndex::HasVariant(const Digest& key, uint32_t tenant, uint32_t profile, uint32_t context) const {
  bool has = false;
  ForEach(FirstAt(key), key, tenant, [&](VariantId, const VariantRecord& record) {
    has = record.profile == profile && record.context == context;
    return !has;
  });
  return has;
}

VariantId ChunkIndex::NewRecord() {
  if (!free_.empty()) {
    const VariantId id = free_.back();
    free_.pop_back();
    return id;
  }
  if (used_ == blocks_.size() * kBlock) blocks_.push_back(std::make_unique<VariantRecord[]>(kBlock));
  return used_++;
}

uint32_t ChunkIndex::HoldOrigin(const std::string& profiles) {
  return profiles.empty() ? 0 : origins_.Hold(Sha256(profiles), profiles);
}

bool ChunkIndex::Insert(const Variant& variant) {
  DECANT_CHECK(variant.tokens > 0 && variant.tokens <= kMaxFrameSpan);
  const VariantId first = FirstAt(variant.key);
  const uint32_t profile = forms_.Hold(variant.profile, variant.profile_name);
  const uint32_t context = contexts_.Hold(variant.context);
  if (HasVariant(variant.key, variant.tenant, profile, context)) {
    forms_.LetGo(profile);
    contexts_.LetGo(context);
    return false;
  }
  bool is_new_key = true;
  ForEach(first, variant.key, variant.tenant, [&](VariantId, const VariantRecord&) { return is_new_key = false; });
  const VariantId id = NewRecord();
  VariantRecord& record = at(id);
  record.key = variant.key;
  record.next = first;
  record.model = models_.Hold(variant.model);
  record.profile = profile;
  record.context = context;
  record.first_token = variant.first_token;
  record.tokens = static_cast<uint16_t>(variant.tokens);
  record.provenance = variant.provenance;
  record.quality = variant.quality;
  record.entry = variant.entry;
  record.bytes = variant.bytes;
  record.parent = variant.parent;
  record.tenant = variant.tenant;
  record.tier = variant.tier;
  record.encoded_from = HoldOrigin(variant.encoded_from);
  places_[PlaceOf(variant.key)] = id;
  ++variants_;
  keys_ += is_new_key ? 1 : 0;
  return true;
}

bool ChunkIndex::Reencode(const Digest& key, uint64_t entry, const Digest& profile, const std::string& profile_name,
                          double quality, int64_t bytes) {
  const VariantId id = OfEntry(key, entry);
  if (id == kNone) return false;
  VariantRecord& record = at(id);
  if (HasVariant(key, record.tenant, forms_.Find(profile), record.context)) return false;
  const std::string& before = origins_.label(record.encoded_from);
  const uint32_t origin = HoldOrigin(absl::StrCat(before, before.empty() ? "" : ",", ProfileName(record)));
  origins_.LetGo(record.encoded_from);
  record.encoded_from = origin;
  const uint32_t number = forms_.Hold(profile, profile_name);
  forms_.LetGo(record.profile);
  record.profile = number;
  record.provenance = std::max(record.provenance, Provenance::kQuantised);
  record.quality = std::min(record.quality, quality);
  record.bytes = bytes;
  return true;
}

bool ChunkIndex::Move(const Digest& key, uint64_t entry, Tier tier) {
  const VariantId id = OfEntry(key, entry);
  if (id == kNone) return false;
  at(id).tier = tier;
  return true;
}

bool ChunkIndex::Erase(const Digest& key, uint64_t entry) {
  const VariantId id = OfEntry(key, entry);
  if (id == kNone) return false;
  const auto place = places_.find(PlaceOf(key));
  if (place->second == id) {
    place->second = at(id).next;
    if (place->second == kNone) places_.erase(place);
  } else {
    VariantId before = place->second;
    while (at(before).next != id) before = at(before).next;
    at(before).next = at(id).next;
  }
  const uint32_t tenant = at(id).tenant;
  models_.LetGo(at(id).model);
  forms_.LetGo(at(id).profile);
  contexts_.LetGo(at(id).context);
  origins_.LetGo(at(id).encoded_from);
  at(id) = VariantRecord{};
  free_.push_back(id);
  --variants_;
  bool was_last = true;
  ForEach(FirstAt(key), key, tenant, [&](VariantId, const VariantRecord&) { return was_last = false; });
  keys_ -= was_last ? 1 : 0;
  return true;
}

std::vector<VariantId> ChunkIndex::Find(const Digest& key, uint32_t tenant) const {
  std::vector<VariantId> ids;
  ForEach(FirstAt(key), key, tenant, [&](VariantId id, const VariantRecord&) {
    ids.push_back(id);
    return true;
  });
  return ids;
}

std::vector<VariantId> ChunkIndex::Find(const Digest& key) const {
  std::vector<VariantId> ids;
  for (VariantId id = FirstAt(key); id != kNone; id = record(id).next) {
    if (record(id).key == key) ids.push_back(id);
  }
  return ids;
}

std::optional<VariantId> ChunkIndex::Find(const Digest& key, const Digest& variant, uint32_t tenant) const {
  std::optional<VariantId> found;
  ForEach(FirstAt(key), key, tenant, [&](VariantId id, const VariantRecord& record) {
    if (VariantDigest(forms_.digest(record.profile), contexts_.digest(record.context)) == variant) found = id;
    return !found.has_value();
  });
  return found;
}

std::optional<VariantId> ChunkIndex::FindEntry(const Digest& key, uint64_t entry) const {
  const VariantId id = OfEntry(key, entry);
  if (id == kNone) return std::nullopt;
  return id;
}

Variant ChunkIndex::Get(VariantId id) const {
  const VariantRecord& from = record(id);
  Variant variant;
  variant.entry = from.entry;
  variant.key = from.key;
  variant.parent = from.parent;
  variant.model = models_.digest(from.model);
  variant.profile = forms_.digest(from.profile);
  variant.context = contexts_.digest(from.context);
  variant.profile_name = forms_.label(from.profile);
  variant.first_token = from.first_token;
  variant.tokens = from.tokens;
  variant.provenance = from.provenance;
  variant.quality = from.quality;
  variant.bytes = from.bytes;
  variant.tenant = from.tenant;
  variant.tier = from.tier;
  variant.encoded_from = origins_.label(from.encoded_from);
  return variant;
}

std::vector<Variant> ChunkIndex::Scan(VariantId* cursor, size_t most, size_t looks) const {
  DECANT_CHECK(most > 0 && looks > 0);
  std::vector<Variant> variants;
  VariantId id = *cursor;
  for (; id < used_ && variants.size() < most && looks > 0; ++id, --looks) {
    ++records_read_;
    if (record(id).tokens > 0) variants.push_back(Get(id));
  }
  *cursor = id < used_ ? id : 0;
  return variants;
}

// ---- Matching.

MissReason ChunkIndex::WhyUnusable(const VariantRecord& record, const Lookup& lookup, int64_t first_token) const {
  const PrefixWant& want = *lookup.want;
  if (record.model != lookup.model) return MissReason::kOtherModel;
  if (record.tokens != want.chunk_tokens) return MissReason::kOtherPlace;
  if (!lookup.anywhere && record.first_token != first_token) return MissReason::kOtherPlace;
  if (IsTainted(record.provenance)) return MissReason::kTainted;
  const bool exact = record.exact();
  if (want.floor >= 1 && !exact) return MissReason::kNotExact;
  if (want.floor > 0 && !exact && record.quality < want.floor) return MissReason::kBelowFloor;
  return MissReason::kNone;
}

// A chunk fits when it was computed in the same run as the one before it, or right behind all that is loaded.
bool ChunkIndex::FitsContext(const VariantRecord& candidate, const PrefixMatch& before) const {
  const uint32_t previous = before.chunks.empty() ? 0 : record(before.chunks.back()).context;
  if (candidate.context == previous || candidate.context == 0) return candidate.context == previous;
  std::vector<LoadedChunk> loaded;
  for (const VariantId id : before.chunks) {
    const VariantRecord& chunk = record(id);
    loaded.push_back(LoadedChunk{
        chunk.key, VariantDigest(forms_.digest(chunk.profile), contexts_.digest(chunk.context)), chunk.exact()});
  }
  return contexts_.digest(candidate.context) == ContextOf(loaded);
}

// The best usable variant of a key, kNone when there is none: then why, and which one was met last.
VariantId ChunkIndex::BestOf(VariantId first, const Digest& key, const Lookup& lookup, const PrefixMatch& before,
                             MissReason* why, VariantId* unusable) const {
  *why = MissReason::kNotStored;
  const int64_t first_token = static_cast<int64_t>(before.chunks.size()) * lookup.want->chunk_tokens;
  VariantId best = kNone;
  const auto rank = [&](const VariantRecord& r) { return std::make_tuple(r.profile == lookup.form, r.quality); };
  ForEach(first, key, lookup.want->tenant, [&](VariantId id, const VariantRecord& candidate) {
    const MissReason reason = WhyUnusable(candidate, lookup, first_token);
    if (reason != MissReason::kNone) {
      *why = reason;
      *unusable = id;
      return true;
    }
    if (best == kNone || rank(record(best)) < rank(candidate)) {
      best = id;
    } else if (rank(record(best)) == rank(candidate)) {  // contexts cost hashing: only where they decide
      const bool best_fits = FitsContext(record(best), before);
      const bool fits = FitsContext(candidate, before);
      if (fits != best_fits ? fits : candidate.bytes < record(best).bytes) best = id;
    }
    return true;
  });
  return best;
}

std::string ChunkIndex::Explain(size_t chunk, int64_t first_token, MissReason why, VariantId unusable,
                                const Lookup& lookup) const {
  const std::string where = absl::StrCat("chunk ", chunk, " (from token ", first_token, "): ");
  if (why == MissReason::kNotStored) return absl::StrCat(where, "it is not stored");
  const VariantRecord& met = record(unusable);
  const std::string& form = ProfileName(met);
  switch (why) {
    case MissReason::kOtherModel:
      return absl::StrCat(where, "it is of another model");
    case MissReason::kOtherPlace:
      return absl::StrCat(where, "it holds tokens ", met.first_token, "+", met.tokens, ", wanted ", first_token, "+",
                          lookup.want->chunk_tokens);
    case MissReason::kTainted:
      return absl::StrCat(where, form, " of it is tainted");
    case MissReason::kNotExact:
      return absl::StrCat(where, form, " of it is not exact");
    case MissReason::kBelowFloor:
      return absl::StrCat(where, "quality ", met.quality, " of ", form, " is below floor ", lookup.want->floor);
    case MissReason::kNone:
    case MissReason::kNotStored:
      break;
  }
  return where;
}

PrefixMatch ChunkIndex::MatchPrefix(absl::Span<const Digest> keys, const PrefixWant& want) const {
  PrefixMatch match;
  Lookup lookup{&want, models_.Find(want.model), forms_.Find(want.form)};
  const auto reusable =
      static_cast<size_t>(ReusableChunks(want.prompt_tokens - want.least_computed + 1, want.chunk_tokens));
  const size_t limit = std::min(keys.size(), reusable);
  match.chunks.reserve(limit);
  std::array<uint64_t, kBatch> places;
  std::array<VariantId, kBatch> firsts;
  for (size_t start = 0; start < limit; start += kBatch) {
    const size_t count = std::min(kBatch, limit - start);
    for (size_t i = 0; i < count; ++i) {
      places[i] = PlaceOf(keys[start + i]);
      places_.prefetch(places[i]);
    }
    for (size_t i = 0; i < count; ++i) {
      const auto found = places_.find(places[i]);
      firsts[i] = found == places_.end() ? kNone : found->second;
      if (firsts[i] != kNone) __builtin_prefetch(&record(firsts[i]));
    }
    for (size_t i = 0; i < count; ++i) {
      MissReason why = MissReason::kNone;
      VariantId unusable = kNone;
      const VariantId best = BestOf(firsts[i], keys[start + i], lookup, match, &why, &unusable);
      if (best == kNone) {
        const size_t chunk = start + i;
        match.miss = why;
        match.miss_reason = Explain(chunk, static_cast<int64_t>(chunk) * want.chunk_tokens, why, unusable, lookup);
        return match;
      }
      match.chunks.push_back(best);
    }
  }
  if (match.chunks.size() == limit && limit < keys.size() && want.least_computed > 1) {
    match.miss_reason =
        absl::StrCat("the last ", want.least_computed, " tokens are computed: the profile chooses by them");
  }
  return match;
}

bool ChunkIndex::IsOfForm(VariantId id, const Digest& form) const {
  const uint32_t number = forms_.Find(form);
  return number != 0 && record(id).profile == number;
}

SegmentMatch ChunkIndex::MatchSegment(const Digest& key, const PrefixWant& want) const {
  Lookup lookup{&want, models_.Find(want.model), forms_.Find(want.form)};
  lookup.anywhere = true;
  SegmentMatch match;
  VariantId unusable = kNone;
  const VariantId best = BestOf(FirstAt(key), key, lookup, PrefixMatch{}, &match.miss, &unusable);
  if (best == kNone) return match;
  match.variant = best;
  match.miss = MissReason::kNone;
  return match;
}

}  // namespace decant
