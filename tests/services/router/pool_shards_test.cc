#include "services/router/pool_shards.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "absl/strings/str_cat.h"

namespace decant {
namespace {

std::vector<Digest> Keys(int prompt, size_t chunks) {
  std::vector<Digest> keys;
  for (size_t i = 0; i < chunks; ++i) keys.push_back(Sha256(absl::StrCat(prompt, ":", i)));
  return keys;
}

PoolShards Of(const std::vector<std::string>& addresses) {
  PoolShards shards;
  shards.Set(addresses);
  return shards;
}

TEST(PoolShardsTest, PromptsThatShareABeginningShareAShard) {
  const PoolShards shards = Of({"a:1", "b:1", "c:1"});
  for (int prompt = 0; prompt < 50; ++prompt) {
    std::vector<Digest> one = Keys(prompt, kShardRun);
    std::vector<Digest> other = one;
    for (int i = 0; i < 20; ++i) one.push_back(Sha256(absl::StrCat("one", i)));
    other.push_back(Sha256("other"));
    EXPECT_EQ(shards.Of(one), shards.Of(other));
    // A shorter one is placed by its first chunk, whatever follows.
    EXPECT_EQ(shards.Of(Keys(prompt, 1)), shards.Of(Keys(prompt, kShardRun - 1)));
  }
}

TEST(PoolShardsTest, AConversationThatGrowsIsFoundWhereItWas) {
  const PoolShards shards = Of({"a:1", "b:1", "c:1"});
  int moved = 0;
  for (int prompt = 0; prompt < 50; ++prompt) {
    const std::string first = shards.Of(Keys(prompt, 1));
    for (size_t chunks = 1; chunks <= 64; ++chunks) {
      const std::vector<Digest> keys = Keys(prompt, chunks);
      const std::string now = shards.Of(keys);
      const std::string before = shards.OfShorter(keys);
      EXPECT_TRUE(now == first || before == first) << chunks << " chunks";
      EXPECT_NE(before, now);
      moved += before.empty() ? 0 : 1;
    }
  }
  EXPECT_GT(moved, 0);
  EXPECT_EQ(Of({"a:1"}).OfShorter(Keys(1, 20)), "");
  EXPECT_EQ(PoolShards().OfShorter(Keys(1, 20)), "");
}

TEST(PoolShardsTest, AShardMoreTakesItsShareAndALostOneLosesItsOwn) {
  const PoolShards three = Of({"a:1", "b:1", "c:1"});
  const PoolShards four = Of({"a:1", "b:1", "c:1", "d:1"});
  std::map<std::string, int> share;
  constexpr int kPrompts = 4000;
  for (int prompt = 0; prompt < kPrompts; ++prompt) {
    const std::vector<Digest> keys = Keys(prompt, 20);
    ++share[four.Of(keys)];
    if (four.Of(keys) == "d:1") continue;
    EXPECT_EQ(four.Of(keys), three.Of(keys)) << "only what the newcomer takes moves";
  }
  for (const auto& [shard, prompts] : share) EXPECT_NEAR(prompts, kPrompts / 4, kPrompts / 20) << shard;
}

TEST(PoolShardsTest, WithoutShardsOrChunks) {
  EXPECT_EQ(PoolShards().Of(Keys(1, 3)), "");
  EXPECT_EQ(Of({"a:1"}).Of({}), "a:1");
}

TEST(PoolShardsTest, EqualLeasesOfTwoShardsAreTwo) {
  PoolShards shards = Of({"a:1", "b:1"});
  EXPECT_EQ(shards.Name("a:1", "", 0), 0u);
  const uint64_t a = shards.Name("a:1", "x", 7);
  const uint64_t b = shards.Name("b:1", "y", 7);
  EXPECT_NE(a, b);
  EXPECT_EQ(shards.Find(a)->pool, "a:1");
  EXPECT_EQ(shards.Find(a)->tenant, "x");
  EXPECT_EQ(shards.Take(b)->pool, "b:1");
  EXPECT_EQ(shards.Find(a)->lease, 7u);
  EXPECT_FALSE(shards.Take(b).has_value());
  EXPECT_FALSE(shards.Find(0).has_value());
}

}  // namespace
}  // namespace decant
