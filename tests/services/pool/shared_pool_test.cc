// The pool with its lower tiers and their threads: what was stored comes back, and the metrics add up.
#include "services/pool/shared_pool.h"

#include <cstdlib>

#include "absl/strings/str_split.h"
#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/pool/app.h"
#include "services/pool/tier_metrics.h"
#include "services/pool/tier_watch.h"
#include "tests/services/pool/pool_rig.h"
#include "tests/support/faulty_tier.h"
#include "tests/support/memory_tier.h"
#include "tests/support/record_samples.h"

namespace decant {
namespace {

using namespace pool_rig;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int kRoom = 4;

// A tier that others look into while the pool uses it.
class Window final : public ByteTier {
 public:
  explicit Window(ByteTier& tier) : tier_(tier) {}
  Tier tier() const override { return tier_.tier(); }
  absl::Status Put(const RecordId& id, absl::string_view record, absl::Time deadline) override {
    return tier_.Put(id, record, deadline);
  }
  absl::StatusOr<std::string> Get(const RecordId& id, absl::Time deadline) override { return tier_.Get(id, deadline); }
  absl::Status Erase(const RecordId& id, absl::Time deadline) override { return tier_.Erase(id, deadline); }
  absl::StatusOr<bool> Contains(const RecordId& id, absl::Time deadline) override {
    return tier_.Contains(id, deadline);
  }
  std::vector<RecordName> TakeForgotten() override { return tier_.TakeForgotten(); }
  TierUse use() const override { return tier_.use(); }

 private:
  ByteTier& tier_;
};

class SharedPoolTest : public testing::Test {
 protected:
  void Make() {
    std::vector<std::unique_ptr<ByteTier>> tiers;
    tiers.push_back(std::make_unique<Window>(disk_));
    Make(std::make_unique<TieredStore>(TieredOptions(), std::move(tiers)));
  }
  void Make(std::unique_ptr<TieredStore> store) {
    Pool probe(PoolLimits(), TestCatalogue(), TestTables());
    ASSERT_TRUE(PublishAll(probe, kStart, PromptOf(1, 1), "full").ok());
    PoolLimits limits;
    limits.capacity_bytes = kRoom * probe.tier().bytes();
    limits.load_limit = absl::Seconds(60);
    pool_ = std::make_unique<SharedPool>(limits, TestCatalogue(), TestTables(), metrics_, std::move(store));
  }
  void Publish(const Prompt& prompt) {
    pool_->With([&](Pool& pool, absl::Time now) {
      EXPECT_TRUE(PublishAll(pool, now, prompt, "full").ok());
      return 0;
    });
    ASSERT_TRUE(Settled());
  }
  // What is to be written is written.
  bool Settled() {
    for (int i = 0; i < 10000; ++i) {
      if (pool_->tier_stats().lanes[0].writes_waiting == 0) return true;
      absl::SleepFor(absl::Milliseconds(1));
    }
    return false;
  }
  static RecordId IdOfChunk(const Prompt& prompt, size_t chunk) {
    return RecordId{prompt.keys[chunk], VariantDigest(RecipeOf("full").digest, Digest()), Model().fingerprint,
                    static_cast<int32_t>(chunk) * kChunkTokens, kChunkTokens};
  }
  PlanOffer Plan(const Prompt& prompt) {
    return pool_->With([&](Pool& pool, absl::Time now) { return pool.Plan(now, DemandOf(prompt)); }).value();
  }
  // Frames of a fetch, waiting as the edge does.
  std::vector<std::string> Fetch(const PlanOffer& offer, std::string* lost = nullptr) {
    absl::StatusOr<FetchCursor> cursor = pool_->With([&](Pool& pool, absl::Time now) {
      return pool.BeginFetch(now, offer.lease, "", Model().fingerprint, WantedOf(offer.prefix));
    });
    EXPECT_TRUE(cursor.ok()) << cursor.status();
    absl::Notification ready;
    if (pool_->AwaitLoads(*cursor, [&] { ready.Notify(); })) ready.WaitForNotification();
    std::vector<std::string> frames;
    while (true) {
      const auto batch =
          pool_->With([&](Pool& pool, absl::Time now) { return pool.NextFrames(now, *cursor, 1 << 20, 1 << 20); });
      EXPECT_TRUE(batch.ok()) << batch.status();
      if (!batch.ok() || batch->frames.empty()) break;
      for (const Blob& blob : batch->frames) frames.emplace_back(blob.view());
    }
    if (lost != nullptr) *lost = cursor->lost;
    pool_->With([&](Pool& pool, absl::Time now) {
      pool.Release(now, offer.lease, "");
      return 0;
    });
    return frames;
  }

  MemoryTier disk_;
  Metrics metrics_;
  std::unique_ptr<SharedPool> pool_;
};

TEST_F(SharedPoolTest, AFetchWaitsForWhatIsOnItsWay) {
  Make();
  Publish(PromptOf(1, kRoom));
  Publish(PromptOf(2, kRoom));
  const PlanOffer offer = Plan(PromptOf(1, kRoom));
  ASSERT_THAT(offer.prefix, SizeIs(kRoom));
  EXPECT_EQ(offer.prefix[0].tier, Tier::kDisk);
  EXPECT_EQ(Fetch(offer), ExpectedFrames(offer.prefix));
}

TEST_F(SharedPoolTest, DamagedBytesAreQuarantinedAndComputedAnew) {
  Make();
  const Prompt prompt = PromptOf(1, kRoom);
  Publish(prompt);
  Publish(PromptOf(2, kRoom));
  const RecordId second = IdOfChunk(prompt, 1);
  std::string bytes = disk_.Get(second, absl::InfiniteFuture()).value();
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  ASSERT_TRUE(disk_.Put(second, bytes, absl::InfiniteFuture()).ok());
  const PlanOffer damaged = Plan(prompt);
  ASSERT_THAT(damaged.prefix, SizeIs(kRoom));
  std::string lost;
  EXPECT_EQ(Fetch(damaged, &lost), ExpectedFrames(absl::MakeConstSpan(damaged.prefix).first(1)));
  EXPECT_THAT(lost, HasSubstr("damaged"));
  EXPECT_EQ(pool_->tier_stats().lanes[0].quarantined, 1);
  Publish(prompt);  // computed anew
  const PlanOffer again = Plan(prompt);
  EXPECT_EQ(Fetch(again), ExpectedFrames(again.prefix));
  EXPECT_THAT(again.prefix, SizeIs(kRoom));
}

double SumOf(const std::string& page, absl::string_view name) {
  double sum = 0;
  for (const absl::string_view line : absl::StrSplit(page, '\n')) {
    if (line.substr(0, name.size()) == name) sum += std::atof(std::string(line.substr(line.rfind(' ') + 1)).c_str());
  }
  return sum;
}

TEST_F(SharedPoolTest, TheSumOfAllTiersIsWhatWasAskedFor) {
  Make();
  TierMetrics shown(metrics_, pool_->tier_stats(), {Tier::kDisk});
  Publish(PromptOf(1, kRoom));
  Publish(PromptOf(2, kRoom));
  int asked = 0;
  for (const Prompt& prompt : {PromptOf(2, kRoom), PromptOf(1, kRoom), PromptOf(3, 6), PromptOf(2, kRoom)}) {
    asked += static_cast<int>(prompt.keys.size());
    const PlanOffer offer = Plan(prompt);
    if (offer.lease != 0) Fetch(offer);
  }
  shown.Show(pool_->tier_stats());
  const std::string page = metrics_.Render();
  EXPECT_EQ(SumOf(page, "decant_pool_lookup_chunks_total{"), asked);
  EXPECT_EQ(SumOf(page, "decant_pool_lookup_chunks_total{tier=\"host\"}"), kRoom);
  EXPECT_EQ(SumOf(page, "decant_pool_lookup_chunks_total{tier=\"disk\"}"), 2 * kRoom);
  EXPECT_EQ(SumOf(page, "decant_pool_lookup_chunks_total{tier=\"miss\"}"), 6);
  EXPECT_EQ(SumOf(page, "decant_pool_tier_up{tier=\"disk\"}"), 1);
}

TEST_F(SharedPoolTest, WhatTheTierForgetsIsNoLongerOffered) {
  Make();
  const Prompt prompt = PromptOf(1, kRoom);
  Publish(prompt);
  Publish(PromptOf(2, kRoom));
  disk_.Evict(IdOfChunk(prompt, kRoom - 1));
  Publish(PromptOf(3, kRoom));  // the store hears of it when it writes
  pool_->Expire();
  EXPECT_THAT(Plan(prompt).prefix, SizeIs(kRoom - 1));
}

// A disk that is full takes nothing: what host memory forgets is gone, and nobody is sent to look for it.
TEST_F(SharedPoolTest, WhatAFullDiskDidNotTakeIsNotOffered) {
  std::vector<std::unique_ptr<ByteTier>> tiers;
  tiers.push_back(std::make_unique<FaultyTier>(
      std::make_unique<MemoryTier>(), [](uint64_t) { return TierFault::kNone; },
      [](uint64_t) { return TierFault::kFull; }, [](absl::Duration) {}));
  Make(std::make_unique<TieredStore>(TieredOptions(), std::move(tiers)));
  const Prompt prompt = PromptOf(1, kRoom);
  Publish(prompt);
  Publish(PromptOf(2, kRoom));
  pool_->Expire();
  EXPECT_GT(pool_->tier_stats().lanes[0].write_failed, 0);
  const PoolStats stats = pool_->With([](Pool& pool, absl::Time) { return pool.stats(); });
  EXPECT_EQ(stats.chunks, kRoom);
  EXPECT_EQ(stats.chunks_below, 0);
  EXPECT_THAT(Plan(prompt).prefix, IsEmpty());
}

// Nobody listens on port 1: the pool serves from host memory, and the tier is seen to be down.
TEST_F(SharedPoolTest, ServesWithoutARemoteServerThatIsDown) {
  TierOptions options;
  options.remote = "127.0.0.1:1";
  auto opened = OpenTiers(options);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_THAT(opened->warnings, IsEmpty()) << "it may come up at any time";
  Make(std::move(opened->store));
  TierMetrics shown(metrics_, pool_->tier_stats(), opened->asked);
  const Prompt prompt = PromptOf(1, kRoom);
  Publish(prompt);
  shown.Show(pool_->tier_stats());
  EXPECT_THAT(metrics_.Render(), HasSubstr("decant_pool_tier_up{tier=\"remote\"} 0"));
  const PlanOffer offer = Plan(prompt);
  EXPECT_EQ(Fetch(offer), ExpectedFrames(offer.prefix));
}

// What a pool that cannot use its folder does: it serves, and says so.
TEST(PoolAppTest, ServesWithoutATierThatCannotBeOpened) {
  record_samples::TemporaryFolder folder;
  TierOptions options;
  options.disk = folder.path() + "/file/below";
  ASSERT_EQ(std::system(("touch " + folder.path() + "/file").c_str()), 0);
  auto opened = OpenTiers(options);
  ASSERT_TRUE(opened.ok()) << opened.status();
  ASSERT_THAT(opened->warnings, SizeIs(1));
  EXPECT_THAT(opened->warnings[0], HasSubstr("no disk tier"));
  Metrics metrics;
  const TierMetrics shown(metrics, opened->store->stats(), opened->asked);
  EXPECT_THAT(metrics.Render(), HasSubstr("decant_pool_tier_up{tier=\"disk\"} 0"));
  PoolOptions pool;
  pool.metrics = "";
  pool.tiers = options;
  const auto app = CreatePoolApp(pool);
  ASSERT_TRUE(app.ok()) << app.status();
  EXPECT_TRUE((*app)->Start().ok());
}

TEST(PoolAppTest, OptionsThatMakeNoSenseAreRefused) {
  PoolOptions pool;
  pool.eviction = "best";
  EXPECT_EQ(CreatePoolApp(pool).status().code(), absl::StatusCode::kInvalidArgument);
  pool = PoolOptions();
  pool.tiers.write = "sometimes";
  EXPECT_EQ(CreatePoolApp(pool).status().code(), absl::StatusCode::kInvalidArgument);
  pool = PoolOptions();
  pool.tiers.disk = "/tmp";
  pool.tiers.disk_bytes = 1;
  EXPECT_EQ(CreatePoolApp(pool).status().code(), absl::StatusCode::kInvalidArgument);
  pool = PoolOptions();
  pool.tiers.remote = "nowhere";
  EXPECT_EQ(CreatePoolApp(pool).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(TierWatchTest, SaysWhatFailsAndWhatIsBackOnce) {
  std::vector<std::string> lines;
  TierWatch watch([&](bool good, const std::string& line) { lines.push_back((good ? "+" : "-") + line); });
  TieredStats stats;
  LaneStats& lane = stats.lanes.emplace_back();
  lane.tier = Tier::kRemote;
  watch.Look(stats);
  EXPECT_THAT(lines, IsEmpty());
  lane.use.answers = false;
  lane.failure = "refused";
  watch.Look(stats);
  watch.Look(stats);
  lane.use.answers = true;
  watch.Look(stats);
  lane.write_failed = 3;
  lane.quarantined = 1;
  watch.Look(stats);
  EXPECT_THAT(lines, ElementsAre(HasSubstr("-the remote tier does not answer"), HasSubstr("+the remote tier answers"),
                                 HasSubstr("3 of 3 records"), HasSubstr("erased")));
}

}  // namespace
}  // namespace decant
