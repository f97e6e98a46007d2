// Which variants of which chunks are stored, and the longest prefix of a prompt that may be served from them.
//
// Made for a million chunks: a record takes two cache lines and shares its digests of model, profile and context with
// others, a lookup waits for memory once per batch of keys and not once per key.
#ifndef DECANT_COMMON_INDEX_CHUNK_INDEX_H_
#define DECANT_COMMON_INDEX_CHUNK_INDEX_H_

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "common/base/digest.h"
#include "common/index/digest_table.h"
#include "common/index/variant.h"

namespace decant {

// Names a stored variant until it is erased.
using VariantId = uint32_t;

// What the index keeps of a variant; numbers stand for digests.
struct alignas(64) VariantRecord {
  Digest key;
  VariantId next = 0;
  uint32_t model = 0;
  uint32_t profile = 0;
  uint32_t context = 0;  // 0: all before it was exact
  int32_t first_token = 0;
  uint16_t tokens = 0;  // at most kMaxFrameSpan
  Provenance provenance = Provenance::kUnspecified;
  double quality = 0;
  // The second line.
  uint64_t entry = 0;
  int64_t bytes = 0;
  Digest parent;
  uint32_t tenant = 0;
  uint32_t encoded_from = 0;
  Tier tier = Tier::kHost;

  bool exact() const { return provenance == Provenance::kExact && context == 0; }
};
static_assert(sizeof(VariantRecord) == 128);

// What a request accepts of stored KV.
struct PrefixWant {
  Digest model;
  uint32_t tenant = 0;  // whose: what others have stored is as if it were not there
  int64_t prompt_tokens = 0;
  int32_t chunk_tokens = 0;
  int32_t least_computed = 1;  // tokens at the end of the prompt that have to be computed
  double floor = 0;            // least quality; 1 and above: exact only
  // The shareable form of the profile in question, which its rows hold as it is stored and which is therefore taken
  // first. Chunks in other forms are expanded and encoded anew. Zeros: no form comes first.
  Digest form;
};

// Why a chunk could not be served.
enum class MissReason : uint8_t {
  kNone = 0,
  kNotStored = 1,
  kOtherModel = 2,
  kOtherPlace = 3,  // the key's tokens stand elsewhere, or are another number
  kTainted = 4,
  kNotExact = 5,  // and the floor is 1
  kBelowFloor = 6,
};

struct PrefixMatch {
  std::vector<VariantId> chunks;  // contiguous from token 0, one variant each
  MissReason miss = MissReason::kNone;
  std::string miss_reason;  // why the prefix ends where it ends; empty when every chunk that may come was found
};

// A chunk found by itself, whatever stands before it: its key is a SegmentKey.
struct SegmentMatch {
  std::optional<VariantId> variant;
  MissReason miss = MissReason::kNone;
};

// Every tenant has an index of its own in it: a key that two of them store is two keys, and no question about one
// touches, counts or tells anything of the other's. Keys of two tenants differ anyway (common/index/keys.h); this holds
// also when somebody knows another's.
//
// Not thread-safe.
class ChunkIndex {
 public:
  // Keys come from publishers, and who guesses `seed` could make lookups slow with keys that collide.
  explicit ChunkIndex(uint64_t seed = 0);

  // False when the tenant's key holds a variant of this profile and context already: the first one stays. REQUIRES:
  // tokens from 1 to kMaxFrameSpan.
  bool Insert(const Variant& variant);
  // The variant of this entry was re-encoded: from now on it is of this profile, quality and size, quantised at best,
  // and says what it was before. False, and nothing changes, when there is none or the key holds such a variant
  // already.
  bool Reencode(const Digest& key, uint64_t entry, const Digest& profile, const std::string& profile_name,
                double quality, int64_t bytes);
  // Its bytes are in another tier now; false when there is none.
  bool Move(const Digest& key, uint64_t entry, Tier tier);
  // Forgets the variant of this entry; false when there is none.
  bool Erase(const Digest& key, uint64_t entry);

  // All variants of a tenant's key, or of a key whosever, in no order.
  std::vector<VariantId> Find(const Digest& key, uint32_t tenant) const;
  std::vector<VariantId> Find(const Digest& key) const;
  std::optional<VariantId> Find(const Digest& key, const Digest& variant, uint32_t tenant = 0) const;
  // Valid until the next change.
  const VariantRecord& record(VariantId id) const { return blocks_[id / kBlock][id % kBlock]; }
  // The variant of this entry, none when there is none.
  std::optional<VariantId> FindEntry(const Digest& key, uint64_t entry) const;
  const std::string& ProfileName(const VariantRecord& record) const { return forms_.label(record.profile); }
  const Digest& ModelOf(const VariantRecord& record) const { return models_.digest(record.model); }
  Variant Get(VariantId id) const;
  // Up to `most` variants from `*cursor` on, of at most `looks` records: fewer, or none, does not mean the end. The
  // cursor is then where to go on, or 0 at the end; it starts at 0. What was stored before the first call and is still
  // there at the last is among them; what changes meanwhile may be. REQUIRES: both above 0.
  std::vector<Variant> Scan(VariantId* cursor, size_t most, size_t looks) const;

  // The longest usable prefix of the chunks `keys`, leaving least_computed tokens of the prompt to compute. A variant
  // is usable when it is of the wanted model, stands at its place, is not tainted and has the wanted quality, in
  // whatever form: every stored form can be expanded (publish_rules.h), so a prefix may be of several. Of several
  // variants the first that holds decides: it is of the wanted form; its quality is higher; its context fits the chunks
  // chosen before it; it is smaller.
  PrefixMatch MatchPrefix(absl::Span<const Digest> keys, const PrefixWant& want) const;
  bool IsOfForm(VariantId id, const Digest& form) const;
  // The variant of a segment that a request accepts, by the same rules but for its place. `want.chunk_tokens` is the
  // segment's length; prompt_tokens does not count.
  SegmentMatch MatchSegment(const Digest& key, const PrefixWant& want) const;

  // Records that questions have looked at so far: what answering costs beside looking up places.
  uint64_t records_read() const { return records_read_; }

  size_t keys() const { return keys_; }
  size_t variants() const { return variants_; }

 private:
  static constexpr size_t kBlock = 4096;
  static constexpr VariantId kNone = UINT32_MAX;
  struct Lookup;

  uint64_t PlaceOf(const Digest& key) const;
  VariantRecord& at(VariantId id) { return blocks_[id / kBlock][id % kBlock]; }
  VariantId FirstAt(const Digest& key) const;
  template <typename F>
  void ForEach(VariantId first, const Digest& key, uint32_t tenant, F f) const;
  VariantId OfEntry(const Digest& key, uint64_t entry) const;
  bool HasVariant(const Digest& key, uint32_t tenant, uint32_t profile, uint32_t context) const;
  VariantId NewRecord();
  uint32_t HoldOrigin(const std::string& profiles);
  MissReason WhyUnusable(const VariantRecord& record, const Lookup& lookup, int64_t first_token) const;
  bool FitsContext(const VariantRecord& record, const PrefixMatch& before) const;
  VariantId BestOf(VariantId first, const Digest& key, const Lookup& lookup, const PrefixMatch& before, MissReason* why,
                   VariantId* unusable) const;
  std::string Explain(size_t chunk, int64_t first_token, MissReason why, VariantId unusable,
                      const Lookup& lookup) const;

  std::array<uint64_t, 4> salts_;
  absl::flat_hash_map<uint64_t, VariantId> places_;  // the first of a list by `next`, of all keys of one place
  std::vector<std::unique_ptr<VariantRecord[]>> blocks_;
  std::vector<VariantId> free_;
  VariantId used_ = 0;  // records ever used: those beyond are new
  DigestTable models_;
  DigestTable forms_;  // profiles, labelled with their names
  DigestTable contexts_;
  DigestTable origins_;  // labelled with Variant::encoded_from
  size_t keys_ = 0;
  size_t variants_ = 0;
  mutable uint64_t records_read_ = 0;
};

}  // namespace decant

#endif  // DECANT_COMMON_INDEX_CHUNK_INDEX_H_
