// The shards of the pool as the router sees them: who keeps a prompt's chunks, and whose lease is whose.
//
// A prompt is kept whole by one shard, so that its prefix is one question, one lease and one fetch. Which one follows
// from the first kShardRun chunks (from the first alone when there are fewer): prompts that share so much share a
// shard, while a short beginning that all prompts have does not draw all of them to one. A conversation that grows
// beyond the run is asked for where it was before, too, and stays there while it is found. A shard that is lost is a
// miss for its prompts until it is back or gone from the list; one that comes takes only its share
// (common/index/shards.h).
#ifndef DECANT_SERVICES_ROUTER_POOL_SHARDS_H_
#define DECANT_SERVICES_ROUTER_POOL_SHARDS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "common/base/digest.h"
#include "common/index/shards.h"

namespace decant {

// Not thread-safe.
class PoolShards {
 public:
  struct Lease {
    std::string pool;
    std::string tenant;
    uint64_t lease = 0;  // as that pool knows it
  };

  PoolShards() : shards_({}) {}

  void Set(std::vector<std::string> addresses) { shards_ = Shards(std::move(addresses)); }
  const std::vector<std::string>& addresses() const { return shards_.addresses(); }
  // The address that keeps a prompt with these chunks; empty when there is no shard.
  std::string Of(absl::Span<const Digest> keys) const;
  // The one that kept it while it had fewer than kShardRun chunks, where that is another: a conversation that has grown
  // finds what it stored there. Empty when it is the same, or the prompt is no longer than that.
  std::string OfShorter(absl::Span<const Digest> keys) const;

  // Shards number their leases each by itself; this is a number that no other lease has. 0 stays 0.
  uint64_t Name(const std::string& pool, const std::string& tenant, uint64_t lease);
  // Whose it is; none when it was never named, or taken.
  std::optional<Lease> Find(uint64_t name) const;
  std::optional<Lease> Take(uint64_t name);

 private:
  Shards shards_;
  uint64_t last_ = 0;
  absl::flat_hash_map<uint64_t, Lease> leases_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_ROUTER_POOL_SHARDS_H_
