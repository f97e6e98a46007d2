#include "services/pool/pool.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/services/pool/pool_rig.h"

namespace decant {
namespace {

using namespace pool_rig;  // NOLINT: this file is about nothing else
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Pool MakePool(PoolLimits limits = {}) { return Pool(limits, TestCatalogue(), TestTables()); }

std::vector<std::string> FetchAll(Pool& pool, absl::Time now, const PlanOffer& offer) {
  auto cursor = pool.BeginFetch(now, offer.lease, "", Model().fingerprint, WantedOf(offer.prefix));
  EXPECT_TRUE(cursor.ok()) << cursor.status();
  std::vector<std::string> frames;
  while (cursor.ok()) {
    const auto batch = pool.NextFrames(now, *cursor, 4000, 8000);
    EXPECT_TRUE(batch.ok()) << batch.status();
    if (!batch.ok() || batch->frames.empty()) break;
    for (const Blob& blob : batch->frames) frames.push_back(std::string(blob.view()));
  }
  return frames;
}

TEST(PoolTest, ServesWhatWasPublishedLayerByLayer) {
  Pool pool = MakePool();
  const Prompt prompt = PromptOf(1, 4);
  const PlanOffer cold = *pool.Plan(kStart, DemandOf(prompt));
  EXPECT_EQ(cold.lease, 0u);
  EXPECT_THAT(cold.prefix, IsEmpty());
  EXPECT_THAT(cold.miss_reason, HasSubstr("chunk 0 (from token 0): it is not stored"));
  EXPECT_EQ(cold.pairs[0].choice.reused_tokens, 0);

  const auto tally = PublishAll(pool, kStart, prompt, "full");
  ASSERT_TRUE(tally.ok()) << tally.status();
  EXPECT_EQ(tally->stored, 4);

  const PlanOffer warm = *pool.Plan(kStart, DemandOf(prompt, 1));
  EXPECT_EQ(warm.pairs[0].choice.reused_tokens, 4 * kChunkTokens);
  EXPECT_EQ(warm.pairs[0].choice.quality, 1);
  ASSERT_EQ(warm.prefix.size(), 4u);
  EXPECT_NE(warm.lease, 0u);
  EXPECT_EQ(FetchAll(pool, kStart, warm), ExpectedFrames(warm.prefix));
  EXPECT_EQ(pool.stats().lookup_hit_tokens, 64);
  EXPECT_EQ(pool.stats().lookup_miss_tokens, 65 + 1);
}

TEST(PoolTest, LeavesOneTokenToCompute) {
  Pool pool = MakePool();
  Prompt prompt = PromptOf(1, 2);
  ASSERT_TRUE(PublishAll(pool, kStart, prompt, "full").ok());
  prompt.tokens.pop_back();
  EXPECT_EQ(pool.Plan(kStart, DemandOf(prompt))->pairs[0].choice.reused_tokens, kChunkTokens);
}

TEST(PoolTest, ShowsAChunkOnlyWithItsLastLayer) {
  Pool pool = MakePool();
  const Prompt prompt = PromptOf(1, 2);
  const auto rules = *PublishRules::Create(StartOf(prompt, "full", 0, 2), pool.catalogue());
  const uint64_t publish = *pool.BeginPublish(kStart, rules);
  const auto add = [&](size_t chunk, int32_t layer) {
    ASSERT_TRUE(pool.AddFrames(kStart, publish, rules->Check(FrameOf(prompt, "full", chunk, layer))).ok());
  };
  const auto reusable = [&] { return pool.Plan(kStart, DemandOf(prompt))->pairs[0].choice.reused_tokens; };
  add(0, 2);
  add(0, 0);
  add(1, 0);
  EXPECT_EQ(reusable(), 0);
  add(0, 1);
  EXPECT_EQ(reusable(), kChunkTokens);
  add(1, 2);
  EXPECT_EQ(reusable(), kChunkTokens);
  const PublishTally tally = *pool.EndPublish(kStart, publish);
  EXPECT_EQ(tally.stored, 1);
  EXPECT_EQ(tally.refused, 1);
  EXPECT_EQ(pool.tier().entries(), 1u);
  EXPECT_EQ(pool.EndPublish(kStart, publish).status().code(), absl::StatusCode::kNotFound);
}

TEST(PoolTest, CountsWhatIsKnown) {
  Pool pool = MakePool();
  const Prompt prompt = PromptOf(1, 3);
  ASSERT_TRUE(PublishAll(pool, kStart, StartOf(prompt, "k8v4", 0, 2), prompt).ok());
  const PublishTally again = *PublishAll(pool, kStart, prompt, "k8v4");
  EXPECT_EQ(again.known, 2);
  EXPECT_EQ(again.stored, 1);
  EXPECT_EQ(PublishAll(pool, kStart, prompt, "full")->stored, 3);
  EXPECT_EQ(pool.stats().chunks, 6);
  EXPECT_EQ(pool.tier().bytes(), pool.tier().SumBytes());
}

TEST(PoolTest, TwoPublishersOfOneChunkStoreItOnce) {
  Pool pool = MakePool();
  const Prompt prompt = PromptOf(1, 1);
  const auto rules = *PublishRules::Create(StartOf(prompt, "full", 0, 1), pool.catalogue());
  const uint64_t a = *pool.BeginPublish(kStart, rules);
  const uint64_t b = *pool.BeginPublish(kStart, rules);
  for (int32_t layer = 0; layer < 3; ++layer) {
    ASSERT_TRUE(pool.AddFrames(kStart, a, rules->Check(FrameOf(prompt, "full", 0, layer))).ok());
    ASSERT_TRUE(pool.AddFrames(kStart, b, rules->Check(FrameOf(prompt, "full", 0, layer))).ok());
  }
  EXPECT_EQ(pool.EndPublish(kStart, a)->stored, 1);
  EXPECT_EQ(pool.EndPublish(kStart, b)->known, 1);
  EXPECT_EQ(pool.tier().entries(), 1u);
}

TEST(PoolTest, GivesAnExactProfileOnlyExactChunks) {
  Pool pool = MakePool();
  const Prompt prompt = PromptOf(1, 7);
  ASSERT_TRUE(PublishAll(pool, kStart, prompt, "k8v4").ok());
  const auto plan = [&](double floor, const std::string& profile) {
    return pool.Plan(kStart, DemandOf(prompt, floor, profile))->pairs[0].choice;
  };
  EXPECT_EQ(plan(0, "diffkv").reused_tokens, 48);  // of 113 tokens the last 64 choose
  EXPECT_EQ(plan(0, "k8v4").reused_tokens, 112);
  EXPECT_EQ(plan(0, "k4v2").reused_tokens, 112);
  EXPECT_EQ(plan(0, "full").reused_tokens, 0);
  EXPECT_EQ(plan(1, "").reused_tokens, 0);
  EXPECT_EQ(plan(1, "").profile, "full");
  // Left to choose, a profile that can reuse beats computing everything.
  EXPECT_EQ(plan(0.96, "").reused_tokens, 112);
  ASSERT_TRUE(PublishAll(pool, kStart, prompt, "full").ok());
  EXPECT_EQ(plan(0, "full").reused_tokens, 112);
  EXPECT_EQ(plan(0, "k4v2").reused_tokens, 112);
  EXPECT_EQ(pool.Plan(kStart, DemandOf(prompt, 0, "k4v2"))->prefix[0].profile_name, "full");
  EXPECT_EQ(pool.Plan(kStart, DemandOf(prompt, 0, "diffkv"))->prefix[0].profile_name, "k8v4");
}

TEST(PoolTest, QualityIsThatOfTheTableOrLess) {
  Pool pool = MakePool();
  const auto quality = [&](uint64_t seed, const std::string& profile, const Digest& context, double stated) {
    const Prompt prompt = PromptOf(seed, 1);
    PublishStart start = StartOf(prompt, profile, 0, 1);
    start.chunks[0].context = context;
    start.chunks[0].quality = stated;
    EXPECT_EQ(PublishAll(pool, kStart, start, prompt)->stored, 1);
    return pool.index().record(pool.index().Find(prompt.keys[0])[0]).quality;
  };
  const Digest lossy = Sha256("a lossy prefix");
  EXPECT_EQ(quality(1, "full", {}, 0), 1);
  EXPECT_EQ(quality(2, "k8v4", {}, 0), 0.98);
  EXPECT_EQ(quality(3, "k8v4", {}, 1), 0.98);
  EXPECT_EQ(quality(4, "k8v4", {}, 0.5), 0.5);
  EXPECT_EQ(quality(5, "k8v4", lossy, 0.7), 0.7);
  EXPECT_EQ(quality(6, "k8v4", lossy, 0), 0);
  EXPECT_EQ(quality(7, "full", lossy, 0.98), 0.98);
}

TEST(PoolTest, ContextProvesTheQualityOfWhatWasComputedOver) {
  Pool pool = MakePool();
  const Prompt prompt = PromptOf(1, 5);
  PublishStart front = StartOf(prompt, "k8v4", 0, 2);
  for (OfferedChunk& chunk : front.chunks) chunk.quality = 0.93;
  ASSERT_EQ(PublishAll(pool, kStart, front, prompt)->stored, 2);
  const PlanOffer plan = *pool.Plan(kStart, DemandOf(prompt, 0, "k8v4"));
  ASSERT_EQ(plan.prefix.size(), 2u);
  std::vector<LoadedChunk> loaded;
  for (const Variant& v : plan.prefix) loaded.push_back({v.key, VariantDigest(v.profile, v.context), v.exact()});
  const auto publish = [&](const Digest& context, size_t first, size_t count) {
    PublishStart rest = StartOf(prompt, "k8v4", first, count);
    for (OfferedChunk& chunk : rest.chunks) chunk.context = context;
    EXPECT_EQ(PublishAll(pool, kStart, rest, prompt)->stored, static_cast<int32_t>(count));
  };
  publish(ContextOf(loaded), 2, 2);
  EXPECT_EQ(pool.Plan(kStart, DemandOf(prompt, 0.93, "k8v4"))->pairs[0].choice.reused_tokens, 4 * kChunkTokens);
  EXPECT_EQ(pool.Plan(kStart, DemandOf(prompt, 0.94, "k8v4"))->pairs[0].choice.reused_tokens, 0);
  // A context that nothing here explains proves nothing.
  publish(Sha256("another prefix"), 4, 1);
  EXPECT_EQ(pool.index().record(pool.index().Find(prompt.keys[4])[0]).quality, 0);
}

// Into a full pool comes chunk 3 of a prompt. Its parent a is stored at chunk `place`, b at chunk 1, and they name each
// other as parent. True when room is made by a younger bystander's leaving, so that a and b counted as in use.
bool CycleOutlivesABystander(size_t place) {
  const Prompt prompt = PromptOf(1, 4);
  const Prompt bystander = PromptOf(2, 1);
  PoolLimits limits;
  {
    Pool sizing = MakePool();
    EXPECT_TRUE(PublishAll(sizing, kStart, StartOf(prompt, "full", 0, 3), prompt).ok());
    limits.capacity_bytes = sizing.tier().bytes() + 100;
  }
  Pool pool = MakePool(limits);
  Prompt a = prompt;
  Prompt b = prompt;
  a.keys[place] = Sha256("a");
  b.keys[1] = Sha256("b");
  PublishStart of_a = StartOf(a, "full", place, 1);
  of_a.chunks[0].parent = Sha256("b");
  PublishStart of_b = StartOf(b, "full", 1, 1);
  of_b.chunks[0].parent = Sha256("a");
  EXPECT_EQ(PublishAll(pool, kStart, of_b, b)->stored, 1);
  EXPECT_EQ(PublishAll(pool, kStart, of_a, a)->stored, 1);
  EXPECT_EQ(PublishAll(pool, kStart, bystander, "full")->stored, 1);
  PublishStart last = StartOf(prompt, "full", 3, 1);
  last.chunks[0].parent = Sha256("a");
  EXPECT_EQ(PublishAll(pool, kStart, last, prompt)->stored, 1);
  return pool.index().Find(bystander.keys[0]).empty() && !pool.index().Find(Sha256("b")).empty();
}

TEST(PoolTest, ParentsThatFormACycleAreFollowedOnlyTowardsTokenZero) {
  EXPECT_TRUE(CycleOutlivesABystander(2));   // a at chunk 2, b at chunk 1: in place until b names a again
  EXPECT_FALSE(CycleOutlivesABystander(1));  // both at chunk 1: neither can stand right before chunk 3
}

TEST(PoolTest, WhatWasComputedOverSomethingLossyIsNeverExact) {
  Pool pool = MakePool();
  const Prompt prompt = PromptOf(1, 1);
  PublishStart start = StartOf(prompt, "full", 0, 1);
  start.chunks[0].context = Sha256("a lossy prefix");
  start.chunks[0].quality = 1;
  ASSERT_EQ(PublishAll(pool, kStart, start, prompt)->stored, 1);
  EXPECT_EQ(pool.index().record(pool.index().Find(prompt.keys[0])[0]).provenance, Provenance::kQuantised);
  EXPECT_EQ(pool.Plan(kStart, DemandOf(prompt, 1))->pairs[0].choice.reused_tokens, 0);
  EXPECT_EQ(pool.Plan(kStart, DemandOf(prompt, 0, "full"))->pairs[0].choice.reused_tokens, 0);
}

TEST(PoolTest, LeasesKeepChunksUntilTheirDeadline) {
  PoolLimits limits;
  const Prompt first = PromptOf(1, 4);
  const Prompt second = PromptOf(2, 4);
  {
    Pool sizing = MakePool();
    ASSERT_TRUE(PublishAll(sizing, kStart, first, "full").ok());
    limits.capacity_bytes = sizing.tier().bytes() + 100;
  }
  limits.lease = absl::Seconds(5);
  Pool pool = MakePool(limits);
  ASSERT_EQ(PublishAll(pool, kStart, first, "full")->stored, 4);
  const PlanOffer plan = *pool.Plan(kStart, DemandOf(first));
  const absl::Time within = kStart + absl::Seconds(4);
  EXPECT_EQ(PublishAll(pool, within, second, "full")->refused, 4);
  EXPECT_EQ(FetchAll(pool, within, plan), ExpectedFrames(plan.prefix));
  // The fetch renewed the lease.
  EXPECT_EQ(PublishAll(pool, within + absl::Seconds(4), second, "full")->refused, 4);
  EXPECT_EQ(pool.stats().leases, 1);
  const absl::Time after = within + absl::Seconds(5);
  EXPECT_EQ(PublishAll(pool, after, second, "full")->stored, 4);
  EXPECT_EQ(pool.stats().leases, 0);
  EXPECT_EQ(pool.stats().evicted, 4);
  EXPECT_EQ(pool.BeginFetch(after, plan.lease, "", Model().fingerprint, WantedOf(plan.prefix)).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(pool.Plan(after, DemandOf(first))->pairs[0].choice.reused_tokens, 0);
}

TEST(PoolTest, ReleaseLetsGo) {
  Pool pool = MakePool();
  const Prompt prompt = PromptOf(1, 2);
  ASSERT_TRUE(PublishAll(pool, kStart, prompt, "full").ok());
  const PlanOffer a = *pool.Plan(kStart, DemandOf(prompt));
  const PlanOffer b = *pool.Plan(kStart, DemandOf(prompt));
  EXPECT_GT(pool.tier().held_bytes(), 0);
  pool.Release(kStart, a.lease, "");
  pool.Release(kStart, a.lease, "");
  EXPECT_GT(pool.tier().held_bytes(), 0);
  pool.Release(kStart, b.lease, "");
  EXPECT_EQ(pool.tier().held_bytes(), 0);
  pool.Release(kStart, 12345, "");
}

TEST(PoolTest, FetchNeedsALeaseThatCoversTheChunk) {
  Pool pool = MakePool();
  const Prompt prompt = PromptOf(1, 2);
  const Prompt other = PromptOf(2, 2);
  ASSERT_TRUE(PublishAll(pool, kStart, prompt, "full").ok());
  ASSERT_TRUE(PublishAll(pool, kStart, other, "full").ok());
  const PlanOffer plan = *pool.Plan(kStart, DemandOf(prompt));
  const PlanOffer others = *pool.Plan(kStart, DemandOf(other));
  const auto code = [&](uint64_t lease, const std::string& tenant, const Digest& model, absl::Span<const Variant> of) {
    return pool.BeginFetch(kStart, lease, tenant, model, WantedOf(of)).status().code();
  };
  EXPECT_EQ(code(plan.lease, "", Model().fingerprint, plan.prefix), absl::StatusCode::kOk);
  EXPECT_EQ(code(plan.lease, "", Model().fingerprint, others.prefix), absl::StatusCode::kNotFound);
  EXPECT_EQ(code(plan.lease, "", Sha256("another model"), plan.prefix), absl::StatusCode::kNotFound);
  EXPECT_EQ(code(plan.lease, "blue", Model().fingerprint, plan.prefix), absl::StatusCode::kNotFound);
  EXPECT_EQ(code(0, "", Model().fingerprint, plan.prefix), absl::StatusCode::kNotFound);
  const std::vector<Variant> many(3, plan.prefix[0]);
  EXPECT_EQ(code(plan.lease, "", Model().fingerprint, many), absl::StatusCode::kNotFound);
}

TEST(PoolTest, TenantsDoNotShareChunks) {
  Pool pool = MakePool();
  const Prompt blue = PromptOf(1, 2, "blue");
  const Prompt red = PromptOf(1, 2, "red");
  ASSERT_TRUE(PublishAll(pool, kStart, blue, "full").ok());
  EXPECT_EQ(pool.Plan(kStart, DemandOf(red))->pairs[0].choice.reused_tokens, 0);
}

TEST(PoolTest, APublisherThatGoesSilentIsForgotten) {
  PoolLimits limits;
  limits.publish_idle = absl::Seconds(2);
  limits.publishes = 1;
  Pool pool = MakePool(limits);
  const Prompt prompt = PromptOf(1, 2);
  const auto rules = *PublishRules::Create(StartOf(prompt, "full", 0, 2), pool.catalogue());
  const uint64_t silent = *pool.BeginPublish(kStart, rules);
  ASSERT_TRUE(pool.AddFrames(kStart + absl::Seconds(1), silent, rules->Check(FrameOf(prompt, "full", 0, 0))).ok());
  EXPECT_EQ(pool.BeginPublish(kStart + absl::Seconds(2), rules).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_GT(pool.tier().bytes(), 0);
  pool.Expire(kStart + absl::Seconds(3));
  EXPECT_EQ(pool.tier().bytes(), 0);
  EXPECT_EQ(pool.stats().chunks_refused, 2);
  EXPECT_EQ(pool.AddFrames(kStart + absl::Seconds(3), silent, {}).code(), absl::StatusCode::kNotFound);
  const uint64_t next = *pool.BeginPublish(kStart + absl::Seconds(3), rules);
  pool.AbortPublish(kStart + absl::Seconds(3), next);
  EXPECT_EQ(pool.tier().bytes(), 0);
}

TEST(PoolTest, AFullLeaseTableMeansRecompute) {
  PoolLimits limits;
  limits.leases = 1;
  Pool pool = MakePool(limits);
  const Prompt prompt = PromptOf(1, 2);
  ASSERT_TRUE(PublishAll(pool, kStart, prompt, "full").ok());
  ASSERT_NE(pool.Plan(kStart, DemandOf(prompt))->lease, 0u);
  const PlanOffer second = *pool.Plan(kStart, DemandOf(prompt));
  EXPECT_EQ(second.lease, 0u);
  EXPECT_EQ(second.pairs[0].choice.reused_tokens, 0);
  EXPECT_THAT(second.miss_reason, HasSubstr("leases are taken"));
}

TEST(PoolTest, OnePrefixServesEveryPair) {
  Pool pool = MakePool();
  const Prompt prompt = PromptOf(1, 6);
  ASSERT_TRUE(PublishAll(pool, kStart, prompt, "k8v4").ok());
  PlanDemand demand = DemandOf(prompt, 0.9);
  PairCandidate slow = demand.candidates[0];
  slow.prefill_queued_tokens = 5000;
  PairCandidate drains = demand.candidates[0];
  drains.decode_load.draining = true;
  demand.candidates = {slow, drains, demand.candidates[0]};
  const PlanOffer offer = *pool.Plan(kStart, demand);
  ASSERT_EQ(offer.pairs.size(), 2u);
  EXPECT_EQ(offer.pairs[0].candidate, 2);
  EXPECT_EQ(offer.pairs[1].candidate, 0);
  for (const PairOffer& pair : offer.pairs) {
    EXPECT_LE(pair.choice.reused_tokens, static_cast<int64_t>(offer.prefix.size()) * kChunkTokens);
    EXPECT_EQ(pair.choice.reused_tokens, 96);
  }
  demand.candidates = {drains};
  EXPECT_EQ(pool.Plan(kStart, demand).status().code(), absl::StatusCode::kUnavailable);
}

void ReportLink(Pool& pool, const std::string& decode, double bits_per_s) {
  Observation seen;
  seen.profile = "full";
  seen.prefill = "p";
  seen.decode = decode;
  seen.wire_ms = 1;
  seen.wire_bytes = static_cast<int64_t>(bits_per_s / 8000);
  pool.Report(seen);
}

std::vector<int32_t> OrderOf(Pool& pool, const PlanDemand& demand) {
  std::vector<int32_t> order;
  const PlanOffer offer = *pool.Plan(kStart, demand);
  for (const PairOffer& pair : offer.pairs) order.push_back(pair.candidate);
  return order;
}

TEST(PoolTest, OfEquallyQuickPairsTheLessLoadedGoesFirst) {
  Pool pool = MakePool();
  ReportLink(pool, "d0", 8.9e9);
  ReportLink(pool, "d1", 9.1e9);
  PlanDemand demand = DemandOf(PromptOf(1, 6), 1);
  demand.candidates.resize(2, demand.candidates[0]);
  demand.candidates[0].decode = "d0";
  demand.candidates[1].decode = "d1";
  // Nothing tells them apart: every request has its own order and keeps it.
  std::vector<int> firsts(2);
  for (int request = 0; request < 100; ++request) {
    demand.request_id = "r-" + std::to_string(request);
    const int32_t first = OrderOf(pool, demand)[0];
    EXPECT_EQ(OrderOf(pool, demand)[0], first);
    ++firsts[static_cast<size_t>(first)];
  }
  EXPECT_THAT(firsts, testing::Each(testing::Gt(25)));  // five standard deviations
  demand.candidates[1].decode_load.running = 3;
  EXPECT_THAT(OrderOf(pool, demand), ElementsAre(0, 1));
  demand.candidates[0].decode_load.running = 2;
  demand.candidates[0].decode_load.waiting = 2;
  EXPECT_THAT(OrderOf(pool, demand), ElementsAre(1, 0));
  // Load does not make up for a link that is really slower.
  ReportLink(pool, "d2", 1e6);
  demand.candidates.push_back(demand.candidates[0]);
  demand.candidates[2].decode = "d2";
  demand.candidates[2].decode_load = {};
  EXPECT_THAT(OrderOf(pool, demand), ElementsAre(1, 0, 2));
}

TEST(PoolTest, EquallyLoadedDecodesLeaveItToThePrefillQueue) {
  Pool pool = MakePool();
  ReportLink(pool, "d0", 9.1e9);
  ReportLink(pool, "d1", 8.9e9);
  PlanDemand demand = DemandOf(PromptOf(1, 60), 1);
  demand.candidates.resize(2, demand.candidates[0]);
  demand.candidates[0].decode = "d0";
  demand.candidates[1].decode = "d1";
  demand.candidates[0].prefill_queued_tokens = 10;
  EXPECT_THAT(OrderOf(pool, demand), ElementsAre(1, 0));
  demand.candidates[1].decode_load.running = 1;
  EXPECT_THAT(OrderOf(pool, demand), ElementsAre(0, 1));
}

// Each is as quick as its neighbour, the ends are not: what is compared is the distance to the quickest.
TEST(PoolTest, ToleranceDoesNotAddUpFromPairToPair) {
  Pool pool = MakePool();
  PlanDemand demand = DemandOf(PromptOf(1, 6), 1);
  demand.candidates.resize(12, demand.candidates[0]);
  for (size_t i = 0; i < demand.candidates.size(); ++i) {
    demand.candidates[i].prefill_load.prefill_tokens_per_s = 100 - 3 * static_cast<double>(i);
    demand.candidates[i].decode_load.running = 12 - static_cast<int32_t>(i);
  }
  EXPECT_THAT(OrderOf(pool, demand), ElementsAre(1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10));
}

TEST(PoolTest, RefusesDemandsThatMakeNoSense) {
  Pool pool = MakePool();
  const Prompt prompt = PromptOf(1, 2);
  const auto code = [&](auto change) {
    PlanDemand demand = DemandOf(prompt);
    change(demand);
    return pool.Plan(kStart, demand).status().code();
  };
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(code([](PlanDemand&) {}), absl::StatusCode::kOk);
  EXPECT_EQ(code([](PlanDemand& d) { d.prompt_tokens = 0; }), kInvalid);
  EXPECT_EQ(code([](PlanDemand& d) { d.prompt_tokens = 31; }), kInvalid);
  EXPECT_EQ(code([](PlanDemand& d) { d.chunk_tokens = 0; }), kInvalid);
  EXPECT_EQ(code([](PlanDemand& d) { d.max_tokens = -1; }), kInvalid);
  EXPECT_EQ(code([](PlanDemand& d) { d.candidates.clear(); }), kInvalid);
  EXPECT_EQ(code([](PlanDemand& d) { d.candidates.resize(257); }), kInvalid);
  EXPECT_EQ(code([](PlanDemand& d) { d.model.fingerprint = {}; }), kInvalid);
  EXPECT_EQ(code([](PlanDemand& d) { d.model.geometry.layers = 1 << 30; }), kInvalid);
  EXPECT_EQ(code([](PlanDemand& d) { d.model.geometry.head_dim = 0; }), kInvalid);
  EXPECT_EQ(code([](PlanDemand& d) { d.profile = "zip"; }), kInvalid);
  EXPECT_EQ(code([](PlanDemand& d) { d.floor = 1.5; }), kInvalid);
  EXPECT_EQ(code([](PlanDemand& d) { d.floor = 0.8, d.profile = "k4v2"; }), kInvalid);
}

TEST(PoolTest, ReportsCorrectTheModel) {
  Pool pool = MakePool();
  const Prompt prompt = PromptOf(1, 2);
  PlanDemand demand = DemandOf(prompt, 1);
  demand.candidates[0].prefill_load.prefill_tokens_per_s = 0;
  const double before = pool.Plan(kStart, demand)->pairs[0].choice.predicted_ttft_ms;
  Observation seen;
  seen.profile = "full";
  seen.prefill = "p";
  seen.decode = "d";
  seen.prompt_tokens = seen.tokens_computed = 1000;
  seen.compute_ms = 10000;
  pool.Report(seen);
  EXPECT_GT(pool.Plan(kStart, demand)->pairs[0].choice.predicted_ttft_ms, 5 * before);
}

}  // namespace
}  // namespace decant
