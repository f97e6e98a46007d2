// Degrade before evict: what the pool plans under pressure, and what it makes of re-encoded frames.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gpu/kernels/codec/frame_reencoder.h"
#include "tests/services/pool/pool_rig.h"

namespace decant {
namespace {

using namespace pool_rig;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr size_t kMany = 1000;

class PoolLadderTest : public testing::Test {
 protected:
  // Nine chunks of `full` fill it to where the ladder starts.
  static PoolLimits Limits() {
    Pool probe(PoolLimits(), TestCatalogue(), TestTables());
    EXPECT_TRUE(PublishAll(probe, kStart, PromptOf(1, 1), "full").ok());
    PoolLimits limits;
    limits.capacity_bytes = 10 * probe.tier().bytes();
    limits.ladder = {"full", "k8v4", "k4v2"};
    return limits;
  }

  absl::StatusOr<std::vector<LayerBlob>> Reencode(const LadderJob& job) {
    std::vector<FrameToReencode> requests;
    for (const LayerBlob& frame : job.frames) requests.push_back(FrameToReencode{frame.blob.view(), {}, 0});
    std::vector<LayerBlob> frames;
    size_t next = 0;
    for (const auto& one : reencoder_->Reencode(requests, job.target)) {
      if (!one.ok()) return one.status();
      const LayerBlob& stored = job.frames[next++];
      frames.push_back(LayerBlob{stored.first_layer, stored.layers, Blob::CopyOf(one->frame)});
    }
    return frames;
  }

  const std::unique_ptr<Device> device_ = CreateHostDevice(1);
  const std::unique_ptr<FrameReencoder> reencoder_ = FrameReencoder::Create(*device_, int64_t{1} << 20).value();
  Pool pool_{Limits(), TestCatalogue(), TestTables()};
};

TEST_F(PoolLadderTest, PlansNothingBelowItsMark) {
  ASSERT_TRUE(PublishAll(pool_, kStart, PromptOf(1, 8), "full").ok());
  EXPECT_THAT(pool_.PlanLadder(kStart, kMany), IsEmpty());
}

TEST_F(PoolLadderTest, ReencodesUntilThereIsRoomAndEvictsNothing) {
  const Prompt prompt = PromptOf(1, 10);
  ASSERT_TRUE(PublishAll(pool_, kStart, prompt, "full").ok());
  const int64_t before = pool_.tier().bytes();
  const std::vector<LadderJob> jobs = pool_.PlanLadder(kStart, kMany);
  ASSERT_FALSE(jobs.empty());
  EXPECT_THAT(pool_.PlanLadder(kStart, kMany), IsEmpty()) << "what is planned is not planned again";
  for (const LadderJob& job : jobs) pool_.FinishLadder(kStart, job, Reencode(job));

  const PoolStats stats = pool_.stats();
  EXPECT_EQ(stats.reencoded, static_cast<int64_t>(jobs.size()));
  EXPECT_EQ(stats.evicted, 0);
  EXPECT_EQ(stats.chunks, 10);
  EXPECT_EQ(stats.reencode_freed_bytes, before - pool_.tier().bytes());
  EXPECT_EQ(pool_.tier().SumBytes(), pool_.tier().bytes());
  EXPECT_LE(static_cast<double>(stats.stored_bytes), 0.9 * static_cast<double>(stats.capacity_bytes));
}

TEST_F(PoolLadderTest, ADegradedChunkSaysWhatItIsAndServesWhoAcceptsIt) {
  PoolLimits limits = Limits();
  limits.ladder_starts = limits.ladder_ends = 0;  // everything
  Pool pool(limits, TestCatalogue(), TestTables());
  const Prompt prompt = PromptOf(1, 4);
  ASSERT_TRUE(PublishAll(pool, kStart, prompt, "full").ok());
  const std::vector<LadderJob> jobs = pool.PlanLadder(kStart, 4);
  ASSERT_THAT(jobs, SizeIs(4));
  for (const LadderJob& job : jobs) pool.FinishLadder(kStart, job, Reencode(job));

  const std::string form = jobs.front().target.profile;
  for (const Digest& key : prompt.keys) {
    const std::vector<VariantId> variants = pool.index().Find(key);
    ASSERT_THAT(variants, SizeIs(1));
    const Variant variant = pool.index().Get(variants.front());
    EXPECT_EQ(variant.profile, RecipeOf(variant.profile_name).digest);
    EXPECT_EQ(variant.provenance, Provenance::kQuantised);
    EXPECT_EQ(variant.quality, jobs.front().quality);
    EXPECT_EQ(variant.bytes, pool.tier().FrameBytes(variant.entry));
    for (const LayerBlob& blob : pool.tier().Frames(variant.entry)) {
      const absl::StatusOr<FrameView> view = ParseFrame(blob.blob.view());
      ASSERT_TRUE(view.ok()) << view.status();
      EXPECT_EQ(view->header.profile, variant.profile);
      EXPECT_EQ(view->header.provenance, Provenance::kQuantised);
    }
  }
  const auto strict = pool.Plan(kStart, DemandOf(prompt, 1));
  ASSERT_TRUE(strict.ok()) << strict.status();
  EXPECT_THAT(strict->prefix, IsEmpty()) << "a floor of 1 takes exact chunks only";
  const auto mild = pool.Plan(kStart, DemandOf(prompt, 0.5, form));
  ASSERT_TRUE(mild.ok()) << mild.status();
  EXPECT_THAT(mild->prefix, SizeIs(4));
}

// The ladder takes one chunk at a time: a prompt half of which it has re-encoded is still found whole.
TEST_F(PoolLadderTest, AChunkReencodedBehindExactOnesServes) {
  PoolLimits limits = Limits();
  limits.ladder_starts = limits.ladder_ends = 0;
  Pool pool(limits, TestCatalogue(), TestTables());
  const Prompt prompt = PromptOf(1, 4);
  ASSERT_TRUE(PublishAll(pool, kStart, prompt, "full").ok());
  std::vector<LadderJob> jobs = pool.PlanLadder(kStart, 2);
  ASSERT_THAT(jobs, SizeIs(2));
  const std::string form = jobs.front().target.profile;
  for (const LadderJob& job : jobs) pool.FinishLadder(kStart, job, Reencode(job));

  const auto plan = pool.Plan(kStart, DemandOf(prompt, 0.5, form));
  ASSERT_TRUE(plan.ok()) << plan.status();
  ASSERT_THAT(plan->prefix, SizeIs(4));
  size_t reencoded = 0;
  double least = 1;
  for (const Variant& variant : plan->prefix) {
    reencoded += variant.encoded_from == "full" ? 1 : 0;
    least = std::min(least, variant.quality);
  }
  EXPECT_EQ(reencoded, 2u);
  EXPECT_EQ(plan->pairs[0].choice.reused_tokens, 4 * kChunkTokens);
  EXPECT_LE(plan->pairs[0].choice.quality, least);
  const auto other = pool.Plan(kStart, DemandOf(prompt, 0, form == "k8v4" ? "k4v2" : "k8v4"));
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_THAT(other->prefix, SizeIs(4));
  const auto strict = pool.Plan(kStart, DemandOf(prompt, 1));
  ASSERT_TRUE(strict.ok()) << strict.status();
  for (const Variant& variant : strict->prefix) EXPECT_TRUE(variant.exact());
}

TEST_F(PoolLadderTest, WhatIsLeasedIsNeverMoved) {
  const Prompt prompt = PromptOf(1, 10);
  ASSERT_TRUE(PublishAll(pool_, kStart, prompt, "full").ok());
  const std::vector<LadderJob> jobs = pool_.PlanLadder(kStart, kMany);
  ASSERT_FALSE(jobs.empty());
  const auto offer = pool_.Plan(kStart, DemandOf(prompt, 1));  // a reader comes while they are re-encoded
  ASSERT_THAT(offer->prefix, SizeIs(10));
  const int64_t before = pool_.tier().bytes();
  for (const LadderJob& job : jobs) pool_.FinishLadder(kStart, job, Reencode(job));
  EXPECT_EQ(pool_.tier().bytes(), before);
  EXPECT_EQ(pool_.stats().reencoded, 0);
  EXPECT_THAT(pool_.PlanLadder(kStart, kMany), IsEmpty());
  pool_.Release(kStart, offer->lease, "");
  EXPECT_FALSE(pool_.PlanLadder(kStart, kMany).empty()) << "afterwards they are candidates again";
}

TEST_F(PoolLadderTest, WhatCannotBeReencodedStaysUntilItIsEvicted) {
  ASSERT_TRUE(PublishAll(pool_, kStart, PromptOf(1, 10), "full").ok());
  for (const LadderJob& job : pool_.PlanLadder(kStart, kMany)) {
    pool_.FinishLadder(kStart, job, absl::FailedPreconditionError("no"));
  }
  EXPECT_GT(pool_.stats().ladder_failed, 0);
  EXPECT_EQ(pool_.stats().chunks, 10);
  ASSERT_TRUE(PublishAll(pool_, kStart, PromptOf(2, 5), "full").ok());
  EXPECT_GT(pool_.stats().evicted, 0);
  EXPECT_EQ(pool_.tier().SumBytes(), pool_.tier().bytes());
}

TEST_F(PoolLadderTest, AFormThatAnswersAsWellAsTheExactOneDoesNotTakeItsPlace) {
  ProfileTable table = *TestTables().For(Model().fingerprint);
  for (ProfileCost& cost : table.profiles) cost.quality = 1;
  ProfileTables tables;
  tables.Replace(table);
  Pool pool(Limits(), TestCatalogue(), tables);
  ASSERT_TRUE(PublishAll(pool, kStart, PromptOf(1, 10), "full").ok());
  const std::vector<LadderJob> jobs = pool.PlanLadder(kStart, kMany);
  ASSERT_FALSE(jobs.empty());
  EXPECT_LT(jobs.front().quality, 1);
}

TEST_F(PoolLadderTest, WhatIsBeingPublishedStays) {
  PoolLimits limits = Limits();
  limits.ladder_starts = limits.ladder_ends = 0;  // everything has to go
  Pool pool(limits, TestCatalogue(), TestTables());
  const Prompt prompt = PromptOf(1, 4);
  const auto rules = PublishRules::Create(StartOf(prompt, "full", 0, 4), pool.catalogue());
  ASSERT_TRUE(rules.ok());
  const auto publish = pool.BeginPublish(kStart, *rules);
  ASSERT_TRUE(publish.ok());
  for (int32_t layer = 0; layer < Model().geometry.layers; ++layer) {
    EXPECT_THAT(pool.PlanLadder(kStart, kMany), IsEmpty());
    std::string message;
    for (size_t chunk = 0; chunk < 4; ++chunk) message += FrameOf(prompt, "full", chunk, layer);
    ASSERT_TRUE(pool.AddFrames(kStart, *publish, (*rules)->Check(message)).ok());
  }
  const auto tally = pool.EndPublish(kStart, *publish);
  ASSERT_TRUE(tally.ok());
  EXPECT_EQ(tally->stored, 4);
  EXPECT_THAT(pool.PlanLadder(kStart, kMany), SizeIs(4));
}

TEST_F(PoolLadderTest, WithoutALadderNothingIsPlanned) {
  PoolLimits limits = Limits();
  limits.ladder.clear();
  Pool pool(limits, TestCatalogue(), TestTables());
  ASSERT_TRUE(PublishAll(pool, kStart, PromptOf(1, 10), "full").ok());
  EXPECT_THAT(pool.PlanLadder(kStart, kMany), IsEmpty());
}

}  // namespace
}  // namespace decant
