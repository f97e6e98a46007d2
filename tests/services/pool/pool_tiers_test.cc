// What host memory forgets lives on below: found by plans, loaded for fetches, and a miss when it is lost.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gpu/kernels/codec/frame_reencoder.h"
#include "tests/services/pool/fake_tiers.h"
#include "tests/services/pool/pool_rig.h"

namespace decant {
namespace {

using namespace pool_rig;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int kRoom = 4;  // chunks of `full`

PoolLimits Limits(double room = kRoom) {
  Pool probe(PoolLimits(), TestCatalogue(), TestTables());
  EXPECT_TRUE(PublishAll(probe, kStart, PromptOf(1, 1), "full").ok());
  PoolLimits limits;
  limits.capacity_bytes = static_cast<int64_t>(room * static_cast<double>(probe.tier().bytes()));
  return limits;
}

class PoolTiersTest : public testing::Test {
 protected:
  // All of it, then as much again, so that only the second is in host memory.
  void FillTwice() {
    ASSERT_TRUE(PublishAll(pool_, kStart, first_, "full").ok());
    ASSERT_TRUE(PublishAll(pool_, kStart, second_, "full").ok());
    ASSERT_EQ(pool_.stats().chunks_below, kRoom);
  }
  absl::StatusOr<FetchCursor> Begin(const PlanOffer& offer, Pool& pool) {
    return pool.BeginFetch(kStart, offer.lease, "", Model().fingerprint, WantedOf(offer.prefix));
  }
  static std::vector<std::string> Rest(Pool& pool, FetchCursor& cursor) {
    std::vector<std::string> frames;
    while (true) {
      const auto batch = pool.NextFrames(kStart, cursor, 1, 1);
      EXPECT_TRUE(batch.ok()) << batch.status();
      if (!batch.ok() || batch->frames.empty()) return frames;
      for (const Blob& blob : batch->frames) frames.emplace_back(blob.view());
    }
  }
  std::vector<ChunkEvent> Events() { return pool_.journal().After(0, TenantTable::kDefaultTenant, 1000).value(); }

  const Prompt first_ = PromptOf(1, kRoom);
  const Prompt second_ = PromptOf(2, kRoom);
  FakeTiers tiers_;
  Pool pool_{Limits(), TestCatalogue(), TestTables(), &tiers_};
};

TEST_F(PoolTiersTest, WhatIsForgottenIsPlannedLoadedAndServed) {
  FillTwice();
  EXPECT_EQ(pool_.stats().chunks, 2 * kRoom);
  EXPECT_EQ(pool_.stats().evicted, 0);
  const auto offer = pool_.Plan(kStart, DemandOf(first_));
  ASSERT_TRUE(offer.ok()) << offer.status();
  ASSERT_THAT(offer->prefix, SizeIs(kRoom));
  EXPECT_THAT(offer->prefix, Each(Field(&Variant::tier, Tier::kDisk)));
  auto cursor = Begin(*offer, pool_);
  ASSERT_TRUE(cursor.ok()) << cursor.status();
  EXPECT_TRUE(pool_.IsLoading(*cursor));
  const std::vector<LoadJob> jobs = pool_.TakeLoads();
  ASSERT_THAT(jobs, SizeIs(kRoom));
  for (const LoadJob& job : jobs) {
    EXPECT_TRUE(pool_.IsLoading(*cursor));
    pool_.FinishLoad(kStart, job, tiers_.Load(job));
  }
  EXPECT_FALSE(pool_.IsLoading(*cursor));
  EXPECT_EQ(Rest(pool_, *cursor), ExpectedFrames(offer->prefix));
  EXPECT_EQ(cursor->lost, "");
  EXPECT_EQ(pool_.stats().moved_up, kRoom);
  EXPECT_EQ(pool_.stats().chunks_below, kRoom) << "the second prompt went down instead";
  EXPECT_EQ(pool_.tier().SumBytes(), pool_.tier().bytes());
}

TEST_F(PoolTiersTest, WhatWasLoadedForALeaseStaysUntilItEnds) {
  FillTwice();
  const auto offer = pool_.Plan(kStart, DemandOf(first_));
  tiers_.LoadAll(pool_, kStart);
  ASSERT_TRUE(PublishAll(pool_, kStart, PromptOf(3, kRoom), "full").ok());
  auto cursor = Begin(*offer, pool_);
  ASSERT_TRUE(cursor.ok()) << cursor.status();
  EXPECT_EQ(Rest(pool_, *cursor), ExpectedFrames(offer->prefix));
  pool_.Release(kStart, offer->lease, "");
  EXPECT_EQ(pool_.tier().held_bytes(), 0);
}

TEST_F(PoolTiersTest, AChunkThatIsLostEndsTheFetchAndSaysWhy) {
  FillTwice();
  const auto offer = pool_.Plan(kStart, DemandOf(first_));
  ASSERT_THAT(offer->prefix, SizeIs(kRoom));
  tiers_.records.erase(IdOf(offer->prefix[2]));
  for (const LoadJob& job : pool_.TakeLoads()) {
    pool_.FinishLoad(kStart, job, tiers_.Load(job, TierMiss::kDamaged));
  }
  auto cursor = Begin(*offer, pool_);
  ASSERT_TRUE(cursor.ok()) << cursor.status();
  EXPECT_FALSE(pool_.IsLoading(*cursor));
  EXPECT_EQ(Rest(pool_, *cursor), ExpectedFrames(absl::MakeConstSpan(offer->prefix).first(2)));
  EXPECT_THAT(cursor->lost, HasSubstr("disk"));
  EXPECT_THAT(cursor->lost, HasSubstr("damaged"));
  pool_.Release(kStart, offer->lease, "");
  const auto again = pool_.Plan(kStart, DemandOf(first_));
  EXPECT_THAT(again->prefix, SizeIs(2)) << "nobody is told of it again";
  EXPECT_THAT(again->miss_reason, HasSubstr("not stored"));
}

TEST_F(PoolTiersTest, WhatCameTooLateIsOfferedAgain) {
  FillTwice();
  const auto offer = pool_.Plan(kStart, DemandOf(first_));
  for (const LoadJob& job : pool_.TakeLoads()) {
    Loaded late;
    late.record = absl::DeadlineExceededError("late");
    late.tier = Tier::kDisk;
    late.miss = TierMiss::kLate;
    pool_.FinishLoad(kStart, job, std::move(late));
  }
  auto cursor = Begin(*offer, pool_);
  ASSERT_TRUE(cursor.ok()) << cursor.status();
  EXPECT_THAT(Rest(pool_, *cursor), IsEmpty());
  EXPECT_THAT(cursor->lost, HasSubstr("late"));
  EXPECT_THAT(pool_.Plan(kStart, DemandOf(first_))->prefix, SizeIs(kRoom));
}

TEST_F(PoolTiersTest, TwoPlansForOneChunkAreBothServed) {
  FillTwice();
  const auto one = pool_.Plan(kStart, DemandOf(first_));
  const auto other = pool_.Plan(kStart, DemandOf(first_));
  const std::vector<LoadJob> jobs = pool_.TakeLoads();
  ASSERT_THAT(jobs, SizeIs(2 * kRoom)) << "each asked for them";
  for (const LoadJob& job : jobs) pool_.FinishLoad(kStart, job, tiers_.Load(job));
  for (const PlanOffer& offer : {*one, *other}) {
    auto cursor = Begin(offer, pool_);
    ASSERT_TRUE(cursor.ok()) << cursor.status();
    EXPECT_EQ(Rest(pool_, *cursor), ExpectedFrames(offer.prefix));
    pool_.Release(kStart, offer.lease, "");
  }
  EXPECT_EQ(pool_.tier().held_bytes(), 0);
}

Loaded Late() {
  Loaded late;
  late.record = absl::DeadlineExceededError("late");
  late.tier = Tier::kDisk;
  late.miss = TierMiss::kLate;
  return late;
}

// A fetch once waited for a prefetch of the same chunk, which has five times its patience, and for the loads of every
// request that came after it.
TEST_F(PoolTiersTest, AFetchWaitsForItsOwnLoadsOnly) {
  FillTwice();
  Hint hint;
  hint.kind = HintKind::kPrefetch;
  hint.keys = first_.keys;
  hint.deadline = absl::Minutes(1);
  pool_.TakeHints(kStart, "", {hint});
  const std::vector<LoadJob> ahead = pool_.TakeLoads();
  ASSERT_THAT(ahead, SizeIs(kRoom));
  const auto offer = pool_.Plan(kStart, DemandOf(first_));
  const std::vector<LoadJob> own = pool_.TakeLoads();
  ASSERT_THAT(own, SizeIs(kRoom));
  const auto later = pool_.Plan(kStart, DemandOf(first_));
  const std::vector<LoadJob> others = pool_.TakeLoads();
  auto cursor = Begin(*offer, pool_);
  auto later_cursor = Begin(*later, pool_);
  ASSERT_TRUE(cursor.ok() && later_cursor.ok());
  EXPECT_TRUE(pool_.IsLoading(*cursor));
  pool_.FinishLoad(kStart, own[0], Late());
  EXPECT_FALSE(pool_.IsLoading(*cursor)) << "nothing behind it is of use";
  EXPECT_THAT(Rest(pool_, *cursor), IsEmpty());
  EXPECT_THAT(cursor->lost, HasSubstr("late"));
  EXPECT_TRUE(pool_.IsLoading(*later_cursor)) << "its own time is not over";
  for (size_t i = 1; i < own.size(); ++i) pool_.FinishLoad(kStart, own[i], Late());
  for (const LoadJob& job : others) pool_.FinishLoad(kStart, job, tiers_.Load(job));
  EXPECT_EQ(Rest(pool_, *later_cursor), ExpectedFrames(later->prefix));
  for (const LoadJob& job : ahead) pool_.FinishLoad(kStart, job, Late());
  EXPECT_FALSE(pool_.IsLoading(*later_cursor));
}

TEST_F(PoolTiersTest, ALeaseThatEndsBeforeItsLoadsHoldsNothing) {
  FillTwice();
  const auto offer = pool_.Plan(kStart, DemandOf(first_));
  pool_.Release(kStart, offer->lease, "");
  tiers_.LoadAll(pool_, kStart);
  EXPECT_EQ(pool_.tier().held_bytes(), 0);
  EXPECT_EQ(Begin(*offer, pool_).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(PoolTiersTest, WithoutRoomALoadedChunkIsAMiss) {
  FillTwice();
  const auto holder = pool_.Plan(kStart, DemandOf(second_));
  ASSERT_THAT(holder->prefix, SizeIs(kRoom));  // leased: nothing can go
  const auto offer = pool_.Plan(kStart, DemandOf(first_));
  tiers_.LoadAll(pool_, kStart);
  auto cursor = Begin(*offer, pool_);
  ASSERT_TRUE(cursor.ok()) << cursor.status();
  EXPECT_THAT(Rest(pool_, *cursor), IsEmpty());
  EXPECT_THAT(cursor->lost, HasSubstr("no room"));
  EXPECT_EQ(pool_.tier().SumBytes(), pool_.tier().bytes());
}

TEST_F(PoolTiersTest, EveryChunkAskedForCountsOnce) {
  FillTwice();
  int64_t asked = 0;
  const auto plan = [&](const Prompt& prompt) {
    asked += static_cast<int64_t>(prompt.keys.size());
    const auto offer = pool_.Plan(kStart, DemandOf(prompt));
    ASSERT_TRUE(offer.ok()) << offer.status();
    tiers_.LoadAll(pool_, kStart);
    pool_.Release(kStart, offer->lease, "");
  };
  plan(second_);         // in host memory
  plan(first_);          // below
  plan(PromptOf(9, 7));  // nowhere
  absl::erase_if(tiers_.records, [&](const auto& record) { return record.first.key == second_.keys[1]; });
  for (int i = 0; i < 4; ++i) plan(i % 2 == 0 ? second_ : first_);
  EXPECT_EQ(tiers_.host + tiers_.below + tiers_.missed + tiers_.unknown, asked);
  EXPECT_GT(tiers_.host, 0);
  EXPECT_GT(tiers_.below, 0);
  EXPECT_GT(tiers_.missed, 0);
  EXPECT_GT(tiers_.unknown, 0);
}

TEST_F(PoolTiersTest, AChunkThatWasComputedAgainTakesThePlaceOfTheOneBelow) {
  FillTwice();
  const auto tally = PublishAll(pool_, kStart, first_, "full");
  ASSERT_TRUE(tally.ok()) << tally.status();
  EXPECT_EQ(tally->stored, kRoom);
  EXPECT_THAT(pool_.Plan(kStart, DemandOf(first_))->prefix, Each(Field(&Variant::tier, Tier::kHost)));
  EXPECT_EQ(pool_.stats().chunks, 2 * kRoom);
}

TEST_F(PoolTiersTest, WhatATierForgetsIsForgotten) {
  FillTwice();
  std::vector<RecordName> names;
  for (const auto& [id, record] : tiers_.records) names.push_back(NameOf(id));
  tiers_.records.clear();
  pool_.ForgetBelow(names);
  EXPECT_EQ(pool_.stats().chunks, kRoom) << "what is in host memory stays";
  EXPECT_EQ(pool_.stats().chunks_below, 0);
  EXPECT_THAT(pool_.Plan(kStart, DemandOf(first_))->prefix, IsEmpty());
}

TEST_F(PoolTiersTest, WhatNoTierTakesIsGone) {
  FakeTiers nothing{std::set<HostEvent>()};
  Pool pool(Limits(), TestCatalogue(), TestTables(), &nothing);
  ASSERT_TRUE(PublishAll(pool, kStart, first_, "full").ok());
  ASSERT_TRUE(PublishAll(pool, kStart, second_, "full").ok());
  EXPECT_EQ(pool.stats().chunks, kRoom);
  EXPECT_EQ(pool.stats().evicted, kRoom);
}

TEST_F(PoolTiersTest, WrittenBackOnlyWhatIsForgottenIsBelow) {
  FakeTiers back{std::set<HostEvent>{HostEvent::kEvicted}};
  Pool pool(Limits(), TestCatalogue(), TestTables(), &back);
  ASSERT_TRUE(PublishAll(pool, kStart, first_, "full").ok());
  EXPECT_THAT(back.records, IsEmpty());
  EXPECT_THAT(pool.NotBelow(), SizeIs(kRoom));
  ASSERT_TRUE(PublishAll(pool, kStart, second_, "full").ok());
  EXPECT_THAT(back.records, SizeIs(kRoom));
  const auto offer = pool.Plan(kStart, DemandOf(first_));
  back.LoadAll(pool, kStart);
  auto cursor = Begin(*offer, pool);
  EXPECT_EQ(Rest(pool, *cursor), ExpectedFrames(offer->prefix));
}

TEST_F(PoolTiersTest, AnotherPoolLearnsWhatTheTiersHold) {
  PublishStart start = StartOf(first_, "full", 0, kRoom);
  start.tenant = "tenant a";
  ASSERT_TRUE(PublishAll(pool_, kStart, start, first_).ok());
  std::vector<RecordHead> heads;
  for (const auto& [id, record] : tiers_.records) heads.push_back(*DecodeHead(EncodeRecord(record)));
  RecordHead damaged = heads.front();
  damaged.variant.tokens = 0;
  heads.push_back(damaged);
  Pool pool(Limits(), TestCatalogue(), TestTables(), &tiers_);
  EXPECT_EQ(*pool.Learn(heads, Tier::kDisk), static_cast<size_t>(kRoom));
  EXPECT_EQ(*pool.Learn(heads, Tier::kRemote), 0u) << "all are known";
  EXPECT_EQ(pool.stats().chunks, kRoom);
  PlanDemand demand = DemandOf(first_);
  demand.tenant = "tenant a";
  const auto offer = pool.Plan(kStart, demand);
  ASSERT_TRUE(offer.ok()) << offer.status();
  ASSERT_THAT(offer->prefix, SizeIs(kRoom));
  EXPECT_EQ(pool.tenants().name(offer->prefix[0].tenant), "tenant a");
  tiers_.LoadAll(pool, kStart);
  EXPECT_GT(pool.tier().tenants().bytes(offer->prefix[0].tenant), 0);
  auto cursor = pool.BeginFetch(kStart, offer->lease, "tenant a", Model().fingerprint, WantedOf(offer->prefix));
  EXPECT_EQ(Rest(pool, *cursor), ExpectedFrames(offer->prefix));
}

TEST_F(PoolTiersTest, LearnsOfNoMoreThanItMayKnow) {
  ASSERT_TRUE(PublishAll(pool_, kStart, first_, "full").ok());
  std::vector<RecordHead> heads;
  for (const auto& [id, record] : tiers_.records) heads.push_back(*DecodeHead(EncodeRecord(record)));
  PoolLimits limits = Limits();
  limits.below = 2;
  Pool pool(limits, TestCatalogue(), TestTables(), &tiers_);
  EXPECT_TRUE(absl::IsResourceExhausted(pool.Learn(heads, Tier::kDisk).status()));
  EXPECT_EQ(pool.stats().chunks_below, 2);
}

// What explain shows of the ladder comes from the plan, and was lost with the process.
TEST_F(PoolTiersTest, StepsOfTheLadderOutliveARestart) {
  ASSERT_TRUE(PublishAll(pool_, kStart, first_, "full").ok());
  std::vector<RecordHead> heads;
  for (auto& [id, record] : tiers_.records) {
    record.variant.encoded_from = "bf16,k8v8";
    heads.push_back(*DecodeHead(EncodeRecord(record)));
  }
  Pool pool(Limits(), TestCatalogue(), TestTables(), &tiers_);
  ASSERT_TRUE(pool.Learn(heads, Tier::kDisk).ok());
  const auto offer = pool.Plan(kStart, DemandOf(first_));
  ASSERT_THAT(offer->prefix, SizeIs(kRoom));
  EXPECT_THAT(offer->prefix, Each(Field(&Variant::encoded_from, "bf16,k8v8")));
  tiers_.LoadAll(pool, kStart);
  EXPECT_THAT(pool.Plan(kStart, DemandOf(first_))->prefix, Each(Field(&Variant::encoded_from, "bf16,k8v8")));
}

TEST_F(PoolTiersTest, EventsFollowAChunkDownUpAndAway) {
  FillTwice();
  const auto offer = pool_.Plan(kStart, DemandOf(first_));
  tiers_.LoadAll(pool_, kStart);
  pool_.Release(kStart, offer->lease, "");
  ASSERT_TRUE(PublishAll(pool_, kStart, second_, "full").ok());
  tiers_.records.clear();
  pool_.ForgetBelow({NameOf(IdOf(offer->prefix[0]))});
  std::vector<std::pair<ChunkEventKind, Tier>> seen;
  for (const ChunkEvent& event : Events()) {
    if (event.key == first_.keys[0]) seen.emplace_back(event.kind, event.tier);
  }
  EXPECT_THAT(
      seen, ElementsAre(std::pair(ChunkEventKind::kStored, Tier::kHost), std::pair(ChunkEventKind::kMoved, Tier::kDisk),
                        std::pair(ChunkEventKind::kMoved, Tier::kHost), std::pair(ChunkEventKind::kMoved, Tier::kDisk),
                        std::pair(ChunkEventKind::kRemoved, Tier::kDisk)));
}

// The ladder makes room by re-encoding; whoever wants the exact form has it from below.
TEST_F(PoolTiersTest, TheBetterFormOfAReencodedChunkIsHadFromBelow) {
  PoolLimits limits = Limits();
  limits.ladder = {"full", "k8v4"};
  limits.ladder_starts = limits.ladder_ends = 0;
  Pool pool(limits, TestCatalogue(), TestTables(), &tiers_);
  ASSERT_TRUE(PublishAll(pool, kStart, PromptOf(1, 2), "full").ok());
  const Prompt prompt = PromptOf(1, 2);
  const auto device = CreateHostDevice(1);
  const auto reencoder = FrameReencoder::Create(*device, int64_t{1} << 20).value();
  const std::vector<LadderJob> jobs = pool.PlanLadder(kStart, 2);
  ASSERT_THAT(jobs, SizeIs(2));
  for (const LadderJob& job : jobs) {
    std::vector<FrameToReencode> requests;
    for (const LayerBlob& frame : job.frames) requests.push_back(FrameToReencode{frame.blob.view(), {}, 0});
    std::vector<LayerBlob> frames;
    for (const auto& one : reencoder->Reencode(requests, job.target)) {
      const LayerBlob& stored = job.frames[frames.size()];
      frames.push_back(LayerBlob{stored.first_layer, stored.layers, Blob::CopyOf(one->frame)});
    }
    pool.FinishLadder(kStart, job, std::move(frames));
  }
  const auto mild = pool.Plan(kStart, DemandOf(prompt, 0.5, "k8v4"));
  ASSERT_THAT(mild->prefix, SizeIs(2));
  EXPECT_THAT(mild->prefix, Each(Field(&Variant::tier, Tier::kHost)));
  EXPECT_THAT(mild->prefix, Each(Field(&Variant::encoded_from, "full")));
  const auto strict = pool.Plan(kStart, DemandOf(prompt, 1));
  ASSERT_THAT(strict->prefix, SizeIs(2));
  EXPECT_THAT(strict->prefix, Each(Field(&Variant::tier, Tier::kDisk)));
  EXPECT_THAT(strict->prefix, Each(Field(&Variant::profile_name, "full")));
  tiers_.LoadAll(pool, kStart);
  auto cursor = Begin(*strict, pool);
  EXPECT_EQ(Rest(pool, *cursor), ExpectedFrames(strict->prefix));
}

// A quota of six chunks where host memory has room for four and the disk for all.
class PoolQuotaTest : public PoolTiersTest {
 protected:
  static constexpr int kQuota = 6;
  static PoolLimits QuotaLimits() {
    PoolLimits limits = Limits();
    TenantTerms terms;
    terms.quota_bytes = limits.capacity_bytes / kRoom * kQuota;
    limits.tenants = TenantTable();
    EXPECT_TRUE(limits.tenants.Configure("small", terms).ok());
    return limits;
  }
  static void PublishFor(Pool& pool, const std::string& tenant, const Prompt& prompt) {
    PublishStart start = StartOf(prompt, "full", 0, prompt.keys.size());
    start.tenant = tenant;
    ASSERT_TRUE(PublishAll(pool, kStart, std::move(start), prompt).ok());
  }
  static int64_t StoredBytes(Pool& pool, const std::string& tenant) {
    const uint32_t number = pool.tenants().Find(tenant);
    return pool.tenants().bytes(number) + pool.tenants().bytes_below(number);
  }
  static size_t StoredOf(const Pool& pool, const Prompt& prompt) {
    size_t stored = 0;
    for (const Digest& key : prompt.keys) stored += pool.index().Find(key).size();
    return stored;
  }
};

TEST_F(PoolQuotaTest, BoundsWhatIsOnDiskTooAndTheOldestGoes) {
  for (const HostEvent written : {HostEvent::kStored, HostEvent::kEvicted}) {
    FakeTiers tiers{std::set<HostEvent>{written}};
    const PoolLimits limits = QuotaLimits();
    Pool pool(limits, TestCatalogue(), TestTables(), &tiers);
    const int64_t quota = limits.capacity_bytes / kRoom * kQuota;
    int64_t most = 0;
    for (uint64_t seed = 1; seed <= 20; ++seed) {
      PublishFor(pool, "small", PromptOf(seed, 1, "small"));
      EXPECT_LE(StoredBytes(pool, "small"), quota) << seed;
      most = std::max(most, StoredBytes(pool, "small"));
      EXPECT_LE(tiers.records.size(), static_cast<size_t>(kQuota));
    }
    EXPECT_GT(most, quota - quota / kQuota) << "it may be used";
    EXPECT_EQ(pool.stats().chunks, kQuota);
    EXPECT_EQ(pool.stats().chunks_below, kQuota - kRoom);
    for (uint64_t seed = 15; seed <= 20; ++seed) EXPECT_EQ(StoredOf(pool, PromptOf(seed, 1, "small")), 1u) << seed;
    // Others have no quota.
    for (uint64_t seed = 1; seed <= 10; ++seed) PublishFor(pool, "large", PromptOf(seed, 1, "large"));
    EXPECT_LE(StoredBytes(pool, "small"), quota);
    for (uint64_t seed = 1; seed <= 10; ++seed) EXPECT_EQ(StoredOf(pool, PromptOf(seed, 1, "large")), 1u) << seed;
  }
}

TEST_F(PoolQuotaTest, ComingBackUpCountsOnceAndWhatIsAwaitedStays) {
  Pool pool(QuotaLimits(), TestCatalogue(), TestTables(), &tiers_);
  for (uint64_t seed = 1; seed <= kQuota; ++seed) PublishFor(pool, "small", PromptOf(seed, 1, "small"));
  PlanDemand demand = DemandOf(PromptOf(1, 1, "small"));
  demand.tenant = "small";
  const auto offer = pool.Plan(kStart, demand);
  ASSERT_THAT(offer->prefix, ElementsAre(Field(&Variant::tier, Tier::kDisk)));
  PublishFor(pool, "small", PromptOf(100, 1, "small"));
  EXPECT_EQ(StoredOf(pool, PromptOf(1, 1, "small")), 1u) << "a lease waits for it";
  EXPECT_EQ(StoredOf(pool, PromptOf(2, 1, "small")), 0u);
  tiers_.LoadAll(pool, kStart);
  auto cursor = pool.BeginFetch(kStart, offer->lease, "small", Model().fingerprint, WantedOf(offer->prefix));
  EXPECT_EQ(Rest(pool, *cursor), ExpectedFrames(offer->prefix));
  EXPECT_LE(StoredBytes(pool, "small"), QuotaLimits().capacity_bytes / kRoom * kQuota);
  EXPECT_EQ(pool.stats().chunks, kQuota);
}

TEST_F(PoolQuotaTest, APoolThatStartsAgainKeepsNoMoreThanTheQuotaOfNow) {
  ASSERT_NO_FATAL_FAILURE(PublishFor(pool_, "small", PromptOf(1, 4, "small")));
  ASSERT_NO_FATAL_FAILURE(PublishFor(pool_, "small", PromptOf(2, 4, "small")));
  std::vector<RecordHead> heads;
  for (const auto& [id, record] : tiers_.records) heads.push_back(*DecodeHead(EncodeRecord(record)));
  ASSERT_THAT(heads, SizeIs(8));
  Pool pool(QuotaLimits(), TestCatalogue(), TestTables(), &tiers_);
  ASSERT_TRUE(pool.Learn(heads, Tier::kDisk).ok());
  EXPECT_EQ(pool.stats().chunks_below, kQuota);
  EXPECT_THAT(tiers_.records, SizeIs(kQuota));
  EXPECT_GT(StoredBytes(pool, "small"), 0);
}

TEST_F(PoolTiersTest, LoadingIsPriced) {
  PoolLimits limits = Limits();
  limits.disk_bytes_per_s = 1;  // hours
  Pool pool(limits, TestCatalogue(), TestTables(), &tiers_);
  ASSERT_TRUE(PublishAll(pool, kStart, first_, "full").ok());
  EXPECT_THAT(pool.Plan(kStart, DemandOf(first_))->prefix, SizeIs(kRoom));
  pool.Expire(kStart + limits.longest_lease);
  ASSERT_TRUE(PublishAll(pool, kStart + limits.longest_lease, second_, "full").ok());
  const auto offer = pool.Plan(kStart + limits.longest_lease, DemandOf(first_));
  EXPECT_THAT(offer->prefix, IsEmpty());
  EXPECT_THAT(offer->miss_reason, HasSubstr("cheaper"));
  EXPECT_THAT(pool.TakeLoads(), IsEmpty());
}

}  // namespace
}  // namespace decant
