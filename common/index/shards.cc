#include "common/index/shards.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "common/base/check.h"
#include "common/base/random.h"

namespace decant {
namespace {

uint64_t LotOf(uint64_t seed, const Digest& key) { return MixBits(seed, key.Prefix64()); }

}  // namespace

Shards::Shards(std::vector<std::string> addresses) : addresses_(std::move(addresses)) {
  std::sort(addresses_.begin(), addresses_.end());
  addresses_.erase(std::unique(addresses_.begin(), addresses_.end()), addresses_.end());
  for (const std::string& address : addresses_) seeds_.push_back(Sha256(address).Prefix64());
}

size_t Shards::ShardOf(const Digest& key) const {
  DECANT_CHECK(!addresses_.empty());
  size_t best = 0;
  for (size_t shard = 1; shard < seeds_.size(); ++shard) {
    if (LotOf(seeds_[shard], key) > LotOf(seeds_[best], key)) best = shard;
  }
  return best;
}

std::vector<size_t> Shards::Ranking(const Digest& key) const {
  std::vector<size_t> ranking(addresses_.size());
  std::iota(ranking.begin(), ranking.end(), size_t{0});
  std::stable_sort(ranking.begin(), ranking.end(),
                   [&](size_t a, size_t b) { return LotOf(seeds_[a], key) > LotOf(seeds_[b], key); });
  return ranking;
}

std::vector<size_t> Shards::ShardsOf(absl::Span<const Digest> keys, size_t run) const {
  DECANT_CHECK(run > 0);
  std::vector<size_t> shards;
  for (size_t chunk = 0; chunk < keys.size(); ++chunk) {
    shards.push_back(chunk % run == 0 ? ShardOf(keys[chunk]) : shards.back());
  }
  return shards;
}

}  // namespace decant
