// A pool that starts again finds what only a real redis-server has, and believes none of it before it has read it.
#include "services/pool/remote_search.h"

#include <unistd.h>

#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/pool/tiers/open_tiers.h"
#include "tests/services/pool/pool_rig.h"
#include "tests/support/record_samples.h"
#include "tests/support/redis_server.h"

namespace decant {
namespace {

using namespace pool_rig;
using ::testing::Each;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr int kChunks = 40;  // more than one page has

class RemoteSearchTest : public testing::Test {
 protected:
  void SetUp() override {
    if (access("/usr/bin/redis-server", X_OK) != 0) GTEST_SKIP() << "there is no /usr/bin/redis-server";
    auto server = RedisServer::Start(socket_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  // A process of its own, as far as a pool can tell.
  struct Life {
    std::shared_ptr<SharedPool> pool;
    RemoteTier* remote = nullptr;
  };
  Life Begin() {
    TierOptions options;
    options.remote = socket_;
    OpenedTiers opened = OpenTiers(options).value();
    Life life;
    life.remote = opened.remote;
    PoolLimits limits;
    limits.load_limit = absl::Seconds(60);
    life.pool = std::make_shared<SharedPool>(limits, TestCatalogue(), TestTables(), metrics_, std::move(opened.store));
    return life;
  }
  // Publishes the prompt in one life that ends.
  void StoreInAnotherLife(const Prompt& prompt) {
    const Life life = Begin();
    life.pool->With([&](Pool& pool, absl::Time now) {
      EXPECT_TRUE(PublishAll(pool, now, prompt, "full").ok());
      return 0;
    });
    ASSERT_EQ(life.pool->DrainTiers(absl::Now() + absl::Seconds(60)), absl::OkStatus());
  }
  std::string Search(const Life& life) {
    absl::Notification ended;
    std::string said;
    const RemoteSearch search(life.pool, *life.remote, [&](const std::string& line) {
      said = line;
      ended.Notify();
    });
    ended.WaitForNotification();
    return said;
  }
  static PlanOffer Plan(const Life& life, const Prompt& prompt) {
    return life.pool->With([&](Pool& pool, absl::Time now) { return pool.Plan(now, DemandOf(prompt)); }).value();
  }
  static std::vector<std::string> Fetch(const Life& life, const PlanOffer& offer, std::string* lost) {
    auto cursor = life.pool->With([&](Pool& pool, absl::Time now) {
      return pool.BeginFetch(now, offer.lease, "", Model().fingerprint, WantedOf(offer.prefix));
    });
    EXPECT_TRUE(cursor.ok()) << cursor.status();
    absl::Notification ready;
    if (life.pool->AwaitLoads(*cursor, [&] { ready.Notify(); })) ready.WaitForNotification();
    std::vector<std::string> frames;
    while (true) {
      const auto batch =
          life.pool->With([&](Pool& pool, absl::Time now) { return pool.NextFrames(now, *cursor, 1 << 20, 1 << 20); });
      EXPECT_TRUE(batch.ok()) << batch.status();
      if (!batch.ok() || batch->frames.empty()) break;
      for (const Blob& blob : batch->frames) frames.emplace_back(blob.view());
    }
    *lost = cursor->lost;
    return frames;
  }

  const record_samples::TemporaryFolder folder_;
  const std::string socket_ = folder_.path() + "/redis.sock";
  const Prompt prompt_ = PromptOf(1, kChunks);
  Metrics metrics_;
  std::unique_ptr<RedisServer> server_;
};

TEST_F(RemoteSearchTest, WhatAnEarlierLifeStoredIsPlannedAndServed) {
  StoreInAnotherLife(prompt_);
  const Life life = Begin();
  EXPECT_THAT(Plan(life, prompt_).prefix, SizeIs(0)) << "nobody has looked yet";
  EXPECT_THAT(Search(life), HasSubstr(absl::StrCat("holds ", kChunks, " chunks")));
  const PlanOffer offer = Plan(life, prompt_);
  ASSERT_THAT(offer.prefix, SizeIs(kChunks));
  EXPECT_THAT(offer.prefix, Each(Field(&Variant::tier, Tier::kRemote)));
  std::string lost;
  EXPECT_EQ(Fetch(life, offer, &lost), ExpectedFrames(offer.prefix));
  EXPECT_EQ(lost, "");
  EXPECT_EQ(life.pool->tier_stats().found[static_cast<size_t>(Tier::kRemote)], kChunks);
  EXPECT_THAT(Search(life), HasSubstr("holds 0 chunks")) << "all of it is known";
}

TEST_F(RemoteSearchTest, WhatWasSpoiledMeanwhileIsAMiss) {
  StoreInAnotherLife(prompt_);
  const Life life = Begin();
  const RecordId third{prompt_.keys[2], VariantDigest(RecipeOf("full").digest, Digest()), Model().fingerprint,
                       2 * kChunkTokens, kChunkTokens};
  const absl::Time soon = absl::Now() + absl::Seconds(60);
  std::string bytes = life.remote->Get(third, soon).value();
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  ASSERT_TRUE(life.remote->Put(third, bytes, soon).ok());
  Search(life);
  const PlanOffer offer = Plan(life, prompt_);
  ASSERT_THAT(offer.prefix, SizeIs(kChunks)) << "a head says nothing of the bytes behind it";
  std::string lost;
  EXPECT_EQ(Fetch(life, offer, &lost), ExpectedFrames(absl::MakeConstSpan(offer.prefix).first(2)));
  EXPECT_THAT(lost, HasSubstr("damaged"));
}

}  // namespace
}  // namespace decant
