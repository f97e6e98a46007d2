// Which shard of the pool keeps a chunk: rendezvous hashing over the addresses that a name resolves to.
//
// Every process that sees the same addresses, in any order, answers alike. A shard that is added takes only its share,
// from all others evenly; one that is lost loses only its own chunks, which are misses until they are stored elsewhere.
#ifndef DECANT_COMMON_INDEX_SHARDS_H_
#define DECANT_COMMON_INDEX_SHARDS_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "common/base/digest.h"

namespace decant {

inline constexpr size_t kShardRun = 16;  // chunks; 1,024 tokens

class Shards {
 public:
  // Duplicates count once. No addresses: no chunk has a shard.
  explicit Shards(std::vector<std::string> addresses);

  // Sorted.
  const std::vector<std::string>& addresses() const { return addresses_; }
  // The shard of a key: an index into addresses(). REQUIRES: there are addresses.
  size_t ShardOf(const Digest& key) const;
  // All shards, best first: where to look, or to store, when those before are down.
  std::vector<size_t> Ranking(const Digest& key) const;
  // The shard of every chunk of a prompt. `run` consecutive chunks stay together, with the shard of the first one's
  // key: few enough that a beginning which all prompts share does not draw all of them to one shard, many enough that a
  // prompt is a few questions. REQUIRES: there are addresses; run > 0.
  std::vector<size_t> ShardsOf(absl::Span<const Digest> keys, size_t run) const;

 private:
  std::vector<std::string> addresses_;
  std::vector<uint64_t> seeds_;  // of each
};

}  // namespace decant

#endif  // DECANT_COMMON_INDEX_SHARDS_H_
