// Which variants of which chunks are stored, and the longest prefix of a prompt that may be served from them.
#ifndef DECANT_COMMON_INDEX_CHUNK_INDEX_H_
#define DECANT_COMMON_INDEX_CHUNK_INDEX_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "common/base/digest.h"
#include "common/index/variant.h"

namespace decant {

// How many chunks from the front of a matched prefix a profile of another shareable form can take: the rule of
// ChunkIndex::MatchPrefix.
size_t TakeableChunks(absl::Span<const Variant> prefix, const Digest& form);

// What a request accepts of stored KV.
struct PrefixWant {
  Digest model;
  int64_t prompt_tokens = 0;
  int32_t chunk_tokens = 0;
  int32_t least_computed = 1;  // tokens at the end of the prompt that have to be computed
  double floor = 0;            // least quality; 1 and above: exact only
  // What the profile in question can take besides exact chunks: chunks of its shareable form. Zeros: nothing besides.
  Digest form;
};

struct PrefixMatch {
  std::vector<Variant> chunks;  // contiguous from token 0, one variant each
  std::string miss_reason;      // why the prefix ends where it ends; empty when every chunk that may come was found
};

// Not thread-safe.
class ChunkIndex {
 public:
  // False when the key holds a variant of this profile and context already: the first one stays.
  bool Insert(Variant variant);
  // Forgets the variant of this entry; false when there is none.
  bool Erase(const Digest& key, uint64_t entry);
  // All variants of a key, in no order; invalid after the next change.
  absl::Span<const Variant> Find(const Digest& key) const;
  const Variant* Find(const Digest& key, const Digest& variant) const;

  // The longest usable prefix of the chunks `keys`, leaving least_computed tokens of the prompt to compute. A variant
  // is usable when it is of the wanted model, stands at its place, is not tainted, has the wanted quality, and is exact
  // or of the wanted form. Exact chunks taken in another form's stead are encoded anew by prefill, and then so is all
  // behind them: no chunk of a lossy form is usable behind an exact one. Of several variants the first that holds
  // decides: it is of the wanted form; its quality is higher; its context fits the chunks chosen before it; it is
  // smaller.
  PrefixMatch MatchPrefix(absl::Span<const Digest> keys, const PrefixWant& want) const;

  size_t keys() const { return keys_.size(); }
  size_t variants() const { return variants_; }

 private:
  absl::flat_hash_map<Digest, std::vector<Variant>> keys_;
  size_t variants_ = 0;
};

}  // namespace decant

#endif  // DECANT_COMMON_INDEX_CHUNK_INDEX_H_
