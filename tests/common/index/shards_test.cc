#include "common/index/shards.h"

#include <map>
#include <string>

#include "gtest/gtest.h"

namespace decant {
namespace {

constexpr int kKeys = 4000;

std::map<std::string, int> Spread(const Shards& shards) {
  std::map<std::string, int> keys;
  for (int key = 0; key < kKeys; ++key) ++keys[shards.addresses()[shards.ShardOf(Sha256(std::to_string(key)))]];
  return keys;
}

TEST(ShardsTest, AnswersAlikeWhateverTheOrder) {
  const Shards one({"a:1", "b:1", "c:1"});
  const Shards other({"c:1", "a:1", "b:1", "a:1"});
  EXPECT_EQ(one.addresses(), other.addresses());
  for (int key = 0; key < 100; ++key) {
    EXPECT_EQ(one.ShardOf(Sha256(std::to_string(key))), other.ShardOf(Sha256(std::to_string(key))));
  }
}

TEST(ShardsTest, SharesEvenly) {
  for (const auto& [address, keys] : Spread(Shards({"a:1", "b:1", "c:1", "d:1"}))) {
    EXPECT_NEAR(keys, kKeys / 4, kKeys / 25) << address;
  }
}

TEST(ShardsTest, AddingOneMovesOnlyItsShare) {
  const Shards before({"a:1", "b:1", "c:1"});
  const Shards after({"a:1", "b:1", "c:1", "d:1"});
  int moved = 0;
  for (int key = 0; key < kKeys; ++key) {
    const Digest digest = Sha256(std::to_string(key));
    const std::string& was = before.addresses()[before.ShardOf(digest)];
    const std::string& is = after.addresses()[after.ShardOf(digest)];
    if (was == is) continue;
    EXPECT_EQ(is, "d:1");
    ++moved;
  }
  EXPECT_NEAR(moved, kKeys / 4, kKeys / 25);
}

TEST(ShardsTest, LosingOneMovesItsKeysToTheNextOfTheirRanking) {
  const Shards before({"a:1", "b:1", "c:1"});
  const Shards after({"a:1", "c:1"});
  for (int key = 0; key < 500; ++key) {
    const Digest digest = Sha256(std::to_string(key));
    const std::vector<size_t> ranking = before.Ranking(digest);
    ASSERT_EQ(ranking.size(), 3u);
    EXPECT_EQ(ranking[0], before.ShardOf(digest));
    const size_t left = before.addresses()[ranking[0]] == "b:1" ? ranking[1] : ranking[0];
    EXPECT_EQ(after.addresses()[after.ShardOf(digest)], before.addresses()[left]);
  }
}

TEST(ShardsTest, KeepsRunsOfAPromptTogether) {
  const Shards shards({"a:1", "b:1", "c:1"});
  std::vector<Digest> keys;
  for (int chunk = 0; chunk < 10; ++chunk) keys.push_back(Sha256(std::to_string(chunk)));
  const std::vector<size_t> of = shards.ShardsOf(keys, 4);
  ASSERT_EQ(of.size(), 10u);
  for (size_t chunk = 0; chunk < 10; ++chunk) EXPECT_EQ(of[chunk], shards.ShardOf(keys[chunk / 4 * 4]));
  EXPECT_TRUE(shards.ShardsOf({}, 4).empty());
  EXPECT_TRUE(Shards({}).addresses().empty());
}

}  // namespace
}  // namespace decant
