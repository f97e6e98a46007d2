// Hints: what each action does, what each refusal says, and that nothing can be held for ever.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gpu/kernels/codec/frame_reencoder.h"
#include "tests/services/pool/fake_tiers.h"
#include "tests/services/pool/pool_rig.h"

namespace decant {
namespace {

using namespace pool_rig;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class PoolHintsTest : public testing::Test {
 protected:
  static int64_t OneChunk() {
    Pool probe(PoolLimits(), TestCatalogue(), TestTables());
    EXPECT_TRUE(PublishAll(probe, kStart, PromptOf(1, 1), "full").ok());
    return probe.tier().bytes();
  }
  // Room for ten chunks, three of which may be retained.
  static PoolLimits Limits(std::vector<std::string> ladder = {}) {
    PoolLimits limits;
    limits.capacity_bytes = 10 * OneChunk();
    limits.ladder = std::move(ladder);
    TenantTerms terms;
    terms.retention_budget_bytes = 3 * OneChunk();
    limits.tenants = TenantTable(terms);
    return limits;
  }
  static Hint HintOf(HintKind kind, const Prompt& prompt) {
    Hint hint;
    hint.action_id = "a1";
    hint.kind = kind;
    hint.keys = prompt.keys;
    hint.priority = 90;
    hint.duration = absl::Minutes(1);
    return hint;
  }
  static HintReceipt Take(Pool& pool, const Hint& hint, absl::Time now = kStart, const std::string& tenant = "") {
    const std::vector<HintReceipt> receipts = pool.TakeHints(now, tenant, {hint});
    EXPECT_THAT(receipts, SizeIs(1));
    EXPECT_EQ(receipts[0].action_id, hint.action_id);
    EXPECT_EQ(receipts[0].kind, hint.kind);
    return receipts[0];
  }
  static size_t Stored(const Pool& pool, const Prompt& prompt) {
    size_t stored = 0;
    for (const Digest& key : prompt.keys) stored += pool.index().Find(key).size();
    return stored;
  }
  static void Fill(Pool& pool, uint64_t seed, int chunks, absl::Time now = kStart) {
    for (int i = 0; i < chunks; ++i) {
      const auto tally = PublishAll(pool, now, PromptOf(seed + static_cast<uint64_t>(i), 1), "full");
      ASSERT_TRUE(tally.ok());
      EXPECT_EQ(tally->stored, 1);
    }
  }
};

TEST_F(PoolHintsTest, WhatIsRetainedOutlivesWhatCameLater) {
  Pool pool(Limits(), TestCatalogue(), TestTables());
  const Prompt kept = PromptOf(1, 2);
  const Prompt other = PromptOf(2, 2);
  ASSERT_TRUE(PublishAll(pool, kStart, kept, "full").ok());
  ASSERT_TRUE(PublishAll(pool, kStart, other, "full").ok());
  const HintReceipt receipt = Take(pool, HintOf(HintKind::kRetain, kept));
  EXPECT_EQ(receipt.outcome, HintOutcome::kExecuted) << receipt.reason;
  EXPECT_EQ(receipt.chunks, 2);
  EXPECT_EQ(receipt.bytes, 2 * OneChunk());
  EXPECT_EQ(receipt.priority, 90);
  EXPECT_EQ(receipt.duration, absl::Minutes(1));
  EXPECT_FALSE(receipt.clamped);
  Fill(pool, 100, 12);
  EXPECT_EQ(Stored(pool, kept), 2u);
  EXPECT_EQ(Stored(pool, other), 0u);
  // After its time it is as old as it is.
  Fill(pool, 200, 12, kStart + absl::Minutes(2));
  EXPECT_EQ(Stored(pool, kept), 0u);
}

TEST_F(PoolHintsTest, RetentionStaysWithinItsBudgetAndNothingWedges) {
  Pool pool(Limits(), TestCatalogue(), TestTables());
  const Prompt prompt = PromptOf(1, 5);
  ASSERT_TRUE(PublishAll(pool, kStart, prompt, "full").ok());
  const HintReceipt receipt = Take(pool, HintOf(HintKind::kRetain, prompt));
  EXPECT_EQ(receipt.outcome, HintOutcome::kExecuted);
  EXPECT_TRUE(receipt.clamped);
  EXPECT_EQ(receipt.chunks, 3) << "the front of the prompt first";
  EXPECT_THAT(receipt.reason, HasSubstr("budget"));
  const Prompt more = PromptOf(2, 1);
  ASSERT_TRUE(PublishAll(pool, kStart, more, "full").ok());
  const HintReceipt over = Take(pool, HintOf(HintKind::kRetain, more));
  EXPECT_EQ(over.outcome, HintOutcome::kRefused);
  EXPECT_EQ(over.bytes, 0);
  EXPECT_THAT(over.reason, HasSubstr("budget"));
  // A budget as large as the pool still lets everything go when nothing else is left.
  PoolLimits limits = Limits();
  TenantTerms terms;
  terms.retention_budget_bytes = limits.capacity_bytes;
  limits.tenants = TenantTable(terms);
  Pool pinned(limits, TestCatalogue(), TestTables());
  const Prompt all = PromptOf(3, 10);
  ASSERT_TRUE(PublishAll(pinned, kStart, all, "full").ok());
  Hint hint = HintOf(HintKind::kRetain, all);
  hint.priority = 100;
  EXPECT_EQ(Take(pinned, hint).chunks, 10);
  Fill(pinned, 300, 20);
}

TEST_F(PoolHintsTest, RetainIsClampedToTheLongestTime) {
  PoolLimits limits = Limits();
  limits.longest_retention = absl::Minutes(1);
  Pool pool(limits, TestCatalogue(), TestTables());
  const Prompt prompt = PromptOf(1, 1);
  ASSERT_TRUE(PublishAll(pool, kStart, prompt, "full").ok());
  Hint hint = HintOf(HintKind::kRetain, prompt);
  hint.duration = absl::Hours(1);
  const HintReceipt receipt = Take(pool, hint);
  EXPECT_EQ(receipt.outcome, HintOutcome::kExecuted);
  EXPECT_TRUE(receipt.clamped);
  EXPECT_EQ(receipt.duration, absl::Minutes(1));
}

TEST_F(PoolHintsTest, WrongNumbersAreRefused) {
  Pool pool(Limits(), TestCatalogue(), TestTables());
  const Prompt prompt = PromptOf(1, 1);
  ASSERT_TRUE(PublishAll(pool, kStart, prompt, "full").ok());
  Hint hint = HintOf(HintKind::kRetain, prompt);
  hint.priority = 101;
  EXPECT_THAT(Take(pool, hint).reason, HasSubstr("101"));
  EXPECT_EQ(Take(pool, hint).outcome, HintOutcome::kRefused);
  hint.priority = 50;
  hint.duration = -absl::Seconds(1);
  EXPECT_EQ(Take(pool, hint).outcome, HintOutcome::kRefused);
  EXPECT_EQ(Take(pool, HintOf(HintKind::kUnspecified, prompt)).outcome, HintOutcome::kRefused);
}

TEST_F(PoolHintsTest, ReleaseEndsWhatWasRetained) {
  Pool pool(Limits(), TestCatalogue(), TestTables());
  const Prompt kept = PromptOf(1, 2);
  ASSERT_TRUE(PublishAll(pool, kStart, kept, "full").ok());
  EXPECT_EQ(Take(pool, HintOf(HintKind::kRetain, kept)).chunks, 2);
  const HintReceipt receipt = Take(pool, HintOf(HintKind::kRelease, kept));
  EXPECT_EQ(receipt.outcome, HintOutcome::kExecuted);
  EXPECT_EQ(receipt.chunks, 2);
  EXPECT_EQ(receipt.bytes, 2 * OneChunk());
  EXPECT_EQ(Stored(pool, kept), 2u);
  EXPECT_EQ(Take(pool, HintOf(HintKind::kRelease, kept)).chunks, 0) << "once";
  Fill(pool, 100, 12);
  EXPECT_EQ(Stored(pool, kept), 0u);
}

TEST_F(PoolHintsTest, ReleaseMayDropButNotUnderAReader) {
  Pool pool(Limits(), TestCatalogue(), TestTables());
  const Prompt prompt = PromptOf(1, 2);
  ASSERT_TRUE(PublishAll(pool, kStart, prompt, "full").ok());
  const PlanOffer offer = pool.Plan(kStart, DemandOf(prompt)).value();
  ASSERT_THAT(offer.prefix, SizeIs(2));
  Hint hint = HintOf(HintKind::kRelease, prompt);
  hint.drop = true;
  const HintReceipt leased = Take(pool, hint);
  EXPECT_EQ(leased.chunks, 0);
  EXPECT_THAT(leased.reason, HasSubstr("being read"));
  EXPECT_EQ(Stored(pool, prompt), 2u);
  pool.Release(kStart, offer.lease, "");
  const HintReceipt dropped = Take(pool, hint);
  EXPECT_EQ(dropped.chunks, 2);
  EXPECT_EQ(dropped.bytes, 2 * OneChunk());
  EXPECT_EQ(Stored(pool, prompt), 0u);
  EXPECT_EQ(pool.tier().bytes(), 0);
  EXPECT_EQ(Take(pool, hint).outcome, HintOutcome::kRefused);
}

TEST_F(PoolHintsTest, WhatIsDemotedGoesFirst) {
  Pool pool(Limits(), TestCatalogue(), TestTables());
  const Prompt old = PromptOf(1, 4);
  const Prompt demoted = PromptOf(2, 2);
  ASSERT_TRUE(PublishAll(pool, kStart, old, "full").ok());
  ASSERT_TRUE(PublishAll(pool, kStart, demoted, "full").ok());
  const HintReceipt receipt = Take(pool, HintOf(HintKind::kDemote, demoted));
  EXPECT_EQ(receipt.outcome, HintOutcome::kExecuted) << receipt.reason;
  EXPECT_EQ(receipt.bytes, 2 * OneChunk());
  Fill(pool, 100, 6);
  EXPECT_EQ(Stored(pool, demoted), 0u);
  EXPECT_EQ(Stored(pool, old), 4u);
}

TEST_F(PoolHintsTest, PrefetchOfWhatIsInMemoryHasNothingToDo) {
  Pool pool(Limits(), TestCatalogue(), TestTables());
  const Prompt prompt = PromptOf(1, 2);
  EXPECT_THAT(Take(pool, HintOf(HintKind::kPrefetch, prompt)).reason, HasSubstr("stored"));
  ASSERT_TRUE(PublishAll(pool, kStart, prompt, "full").ok());
  const HintReceipt receipt = Take(pool, HintOf(HintKind::kPrefetch, prompt));
  EXPECT_EQ(receipt.outcome, HintOutcome::kExecuted);
  EXPECT_EQ(receipt.bytes, 0);
}

TEST_F(PoolHintsTest, DemoteMovesDownAndPrefetchBringsBack) {
  FakeTiers tiers;
  Pool pool(Limits(), TestCatalogue(), TestTables(), &tiers);
  const Prompt prompt = PromptOf(1, 3);
  ASSERT_TRUE(PublishAll(pool, kStart, prompt, "full").ok());
  const HintReceipt demoted = Take(pool, HintOf(HintKind::kDemote, prompt));
  EXPECT_EQ(demoted.outcome, HintOutcome::kExecuted);
  EXPECT_EQ(demoted.bytes, 3 * OneChunk());
  EXPECT_FALSE(demoted.clamped) << demoted.reason;
  EXPECT_EQ(pool.tier().bytes(), 0);
  EXPECT_EQ(Stored(pool, prompt), 3u) << "below";
  EXPECT_THAT(Take(pool, HintOf(HintKind::kRetain, prompt)).reason, HasSubstr("lower tiers only"));

  const HintReceipt prefetched = Take(pool, HintOf(HintKind::kPrefetch, prompt));
  EXPECT_EQ(prefetched.outcome, HintOutcome::kAccepted) << prefetched.reason;
  EXPECT_EQ(prefetched.chunks, 3);
  EXPECT_GT(prefetched.bytes, 0);
  tiers.LoadAll(pool, kStart);
  EXPECT_EQ(pool.tier().bytes(), 3 * OneChunk());
  EXPECT_EQ(tiers.prefetched, 3);
  EXPECT_EQ(Take(pool, HintOf(HintKind::kPrefetch, prompt)).outcome, HintOutcome::kExecuted);
}

TEST_F(PoolHintsTest, APrefetchIsOfUseUntilItsDeadline) {
  FakeTiers tiers;
  Pool pool(Limits(), TestCatalogue(), TestTables(), &tiers);
  const Prompt prompt = PromptOf(1, 2);
  ASSERT_TRUE(PublishAll(pool, kStart, prompt, "full").ok());
  Take(pool, HintOf(HintKind::kDemote, prompt));
  Hint hint = HintOf(HintKind::kPrefetch, prompt);
  hint.deadline = absl::Seconds(3);
  Take(pool, hint);
  const std::vector<LoadJob> jobs = pool.TakeLoads();
  ASSERT_EQ(jobs.size(), 2u);
  for (const LoadJob& job : jobs) EXPECT_EQ(job.useful, absl::Seconds(3));
}

TEST_F(PoolHintsTest, ADroppedChunkIsGoneFromEveryTier) {
  FakeTiers tiers;
  Pool pool(Limits(), TestCatalogue(), TestTables(), &tiers);
  const Prompt below = PromptOf(1, 2);
  const Prompt host = PromptOf(2, 2);
  ASSERT_TRUE(PublishAll(pool, kStart, below, "full").ok());
  EXPECT_EQ(Take(pool, HintOf(HintKind::kDemote, below)).chunks, 2);
  ASSERT_TRUE(PublishAll(pool, kStart, host, "full").ok());
  for (const Prompt& prompt : {below, host}) {
    Hint hint = HintOf(HintKind::kRelease, prompt);
    hint.drop = true;
    EXPECT_EQ(Take(pool, hint).chunks, 2);
    EXPECT_EQ(Stored(pool, prompt), 0u);
  }
  EXPECT_TRUE(tiers.records.empty());
  EXPECT_EQ(pool.stats().chunks, 0);
  EXPECT_EQ(pool.stats().chunks_below, 0);
}

TEST_F(PoolHintsTest, CompressReencodesNowAndNeverUpwards) {
  PoolLimits limits = Limits({"full", "k8v4", "k4v2"});
  Pool pool(limits, TestCatalogue(), TestTables());
  const Prompt prompt = PromptOf(1, 3);
  ASSERT_TRUE(PublishAll(pool, kStart, prompt, "full").ok());
  EXPECT_THAT(pool.PlanLadder(kStart, 100), IsEmpty());
  Hint hint = HintOf(HintKind::kCompress, prompt);
  hint.profile = "k4v2";  // past k8v4
  const HintReceipt receipt = Take(pool, hint);
  EXPECT_EQ(receipt.outcome, HintOutcome::kAccepted) << receipt.reason;
  EXPECT_EQ(receipt.chunks, 3);
  EXPECT_EQ(receipt.bytes, 3 * OneChunk());
  EXPECT_EQ(Take(pool, hint).outcome, HintOutcome::kRefused) << "they are on their way";
  const std::vector<LadderJob> jobs = pool.PlanLadder(kStart, 2);
  ASSERT_THAT(jobs, SizeIs(2));
  const auto device = CreateHostDevice(1);
  const auto reencoder = FrameReencoder::Create(*device, int64_t{1} << 20).value();
  for (const LadderJob& job : jobs) {
    EXPECT_EQ(job.target.profile, "k4v2");
    std::vector<FrameToReencode> requests;
    for (const LayerBlob& frame : job.frames) requests.push_back(FrameToReencode{frame.blob.view(), {}, 0});
    std::vector<LayerBlob> frames;
    for (const auto& one : reencoder->Reencode(requests, job.target)) {
      const LayerBlob& stored = job.frames[frames.size()];
      frames.push_back(LayerBlob{stored.first_layer, stored.layers, Blob::CopyOf(one.value().frame)});
    }
    pool.FinishLadder(kStart, job, frames);
  }
  EXPECT_EQ(pool.stats().reencoded, 2);
  EXPECT_THAT(pool.PlanLadder(kStart, 100), SizeIs(1)) << "the third";
  hint.keys = {prompt.keys[0]};
  EXPECT_EQ(Take(pool, hint).outcome, HintOutcome::kExecuted);
  EXPECT_THAT(Take(pool, hint).reason, HasSubstr("already"));
  hint.profile = "k8v4";  // upwards: it has a cheaper one
  EXPECT_EQ(Take(pool, hint).chunks, 0);
  hint.profile = "diffkv";
  EXPECT_EQ(Take(pool, hint).outcome, HintOutcome::kRefused);
  EXPECT_THAT(Take(pool, hint).reason, HasSubstr("full, k8v4, k4v2"));
}

// One that went down and came up again is planned again, while the first job is still at work.
TEST_F(PoolHintsTest, TheSecondOfTwoReencodingsTakesNothingAway) {
  FakeTiers tiers;
  Pool pool(Limits({"full", "k8v4"}), TestCatalogue(), TestTables(), &tiers);
  const Prompt prompt = PromptOf(1, 1);
  ASSERT_TRUE(PublishAll(pool, kStart, prompt, "full").ok());
  std::vector<LadderJob> jobs;
  for (int round = 0; round < 2; ++round) {
    Hint compress = HintOf(HintKind::kCompress, prompt);
    compress.profile = "k8v4";
    ASSERT_EQ(Take(pool, compress).outcome, HintOutcome::kAccepted);
    for (LadderJob& job : pool.PlanLadder(kStart, 9)) jobs.push_back(std::move(job));
    if (round == 1) break;
    ASSERT_EQ(Take(pool, HintOf(HintKind::kDemote, prompt)).outcome, HintOutcome::kExecuted);
    ASSERT_EQ(Take(pool, HintOf(HintKind::kPrefetch, prompt)).outcome, HintOutcome::kAccepted);
    for (const LoadJob& load : pool.TakeLoads()) pool.FinishLoad(kStart, load, tiers.Load(load));
  }
  ASSERT_THAT(jobs, SizeIs(2));
  const auto device = CreateHostDevice(1);
  const auto reencoder = FrameReencoder::Create(*device, int64_t{1} << 20).value();
  for (const LadderJob& job : jobs) {
    std::vector<LayerBlob> frames;
    for (const LayerBlob& stored : job.frames) {
      const FrameToReencode request{stored.blob.view(), {}, 0};
      const auto one = reencoder->Reencode({request}, job.target);
      frames.push_back(LayerBlob{stored.first_layer, stored.layers, Blob::CopyOf(one[0].value().frame)});
    }
    pool.FinishLadder(kStart, job, frames);
  }
  EXPECT_EQ(pool.stats().reencoded, 1);
  // The better form lives on below.
  std::vector<std::string> in_host;
  for (const VariantId id : pool.index().Find(prompt.keys[0])) {
    if (pool.index().record(id).tier == Tier::kHost) in_host.push_back(pool.index().Get(id).profile_name);
  }
  EXPECT_THAT(in_host, ElementsAre("k8v4"));
}

TEST_F(PoolHintsTest, TenantsTakeTurnsInWhatTheyWishCompressed) {
  Pool pool(Limits({"full", "k8v4"}), TestCatalogue(), TestTables());
  for (const auto& [tenant, chunks] : {std::pair("a", 5), std::pair("b", 2), std::pair("c", 1)}) {
    const Prompt prompt = PromptOf(1, chunks, tenant);
    PublishStart start = StartOf(prompt, "full", 0, prompt.keys.size());
    start.tenant = tenant;
    ASSERT_TRUE(PublishAll(pool, kStart, std::move(start), prompt).ok());
    Hint hint = HintOf(HintKind::kCompress, prompt);
    hint.profile = "k8v4";
    EXPECT_EQ(Take(pool, hint, kStart, tenant).chunks, chunks);
  }
  const auto turns = [&](size_t most) {
    std::string names;
    for (const LadderJob& job : pool.PlanLadder(kStart, most)) names += pool.tenants().name(job.tenant);
    return names;
  };
  EXPECT_EQ(turns(2), "ab");
  EXPECT_EQ(turns(3), "cab");
  EXPECT_EQ(turns(99), "aaa");
  EXPECT_EQ(turns(99), "");
}

TEST_F(PoolHintsTest, WithoutALadderNothingIsCompressed) {
  Pool pool(Limits(), TestCatalogue(), TestTables());
  const Prompt prompt = PromptOf(1, 1);
  ASSERT_TRUE(PublishAll(pool, kStart, prompt, "full").ok());
  Hint hint = HintOf(HintKind::kCompress, prompt);
  hint.profile = "k4v2";
  const HintReceipt receipt = Take(pool, hint);
  EXPECT_EQ(receipt.outcome, HintOutcome::kRefused);
  EXPECT_THAT(receipt.reason, HasSubstr("no ladder"));
}

// Another tenant's chunks, with their very keys, are answered as chunks that never were, and stay as they are.
TEST_F(PoolHintsTest, AnothersChunksAreNotThere) {
  Pool pool(Limits({"full", "k8v4"}), TestCatalogue(), TestTables());
  const Prompt prompt = PromptOf(1, 2);
  ASSERT_TRUE(PublishAll(pool, kStart, prompt, "full").ok());
  for (const HintKind kind :
       {HintKind::kRetain, HintKind::kPrefetch, HintKind::kDemote, HintKind::kRelease, HintKind::kCompress}) {
    Hint hint = HintOf(kind, prompt);
    hint.profile = "k8v4";
    hint.drop = true;
    const HintReceipt receipt = Take(pool, hint, kStart, "b");
    const HintReceipt never = Take(pool, HintOf(kind, PromptOf(9, 2)), kStart, "b");
    EXPECT_EQ(receipt.outcome, HintOutcome::kRefused);
    EXPECT_EQ(receipt.reason, never.reason);
    EXPECT_EQ(receipt.bytes, 0);
  }
  EXPECT_EQ(Stored(pool, prompt), 2u);
}

}  // namespace
}  // namespace decant
