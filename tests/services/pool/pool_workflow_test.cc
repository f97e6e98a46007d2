// Workflows in the pool: what runs next stays, and what is needed next comes back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/services/pool/fake_tiers.h"
#include "tests/services/pool/pool_rig.h"

namespace decant {
namespace {

using namespace pool_rig;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int kAgents = 5;
constexpr int kRoom = 3;  // agents' prompts, of one chunk

std::string NameOfAgent(int agent) { return "agent " + std::to_string(agent); }
Prompt PromptOfAgent(int agent) { return PromptOf(100 + static_cast<uint64_t>(agent), 1); }

WorkflowUpdate Cycle() {
  WorkflowUpdate update;
  update.client = "c";
  update.version = 1;
  update.life = absl::Minutes(5);
  update.what = WorkflowUpdate::What::kGraph;
  for (int i = 0; i < kAgents; ++i) {
    update.agents.push_back({NameOfAgent(i), Join::kAny, {NameOfAgent((i + kAgents - 1) % kAgents)}});
    update.prefixes.emplace_back(NameOfAgent(i), PromptOfAgent(i).keys);
  }
  return update;
}

WorkflowUpdate RunningNow(uint64_t version, int agent) {
  WorkflowUpdate update = Cycle();
  update.what = WorkflowUpdate::What::kRunning;
  update.version = version;
  update.running = {NameOfAgent(agent)};
  return update;
}

PoolLimits Limits(PoolEviction eviction) {
  Pool probe(PoolLimits(), TestCatalogue(), TestTables());
  EXPECT_TRUE(PublishAll(probe, kStart, PromptOf(1, 1), "full").ok());
  PoolLimits limits;
  limits.eviction = eviction;
  limits.capacity_bytes = kRoom * probe.tier().bytes();
  return limits;
}

// Hits of `rounds` rounds of the cycle, each agent publishing what it did not find, after two rounds to warm up.
int Hits(PoolEviction eviction, int rounds) {
  Pool pool(Limits(eviction), TestCatalogue(), TestTables());
  EXPECT_TRUE(pool.UpdateWorkflow(kStart, Cycle()).ok());
  int hits = 0;
  uint64_t version = 1;
  for (int step = 0; step < (rounds + 2) * kAgents; ++step) {
    const int agent = step % kAgents;
    EXPECT_TRUE(pool.UpdateWorkflow(kStart, RunningNow(++version, agent)).ok());
    const Prompt prompt = PromptOfAgent(agent);
    const auto offer = pool.Plan(kStart, DemandOf(prompt));
    EXPECT_TRUE(offer.ok()) << offer.status();
    if (step >= 2 * kAgents) hits += offer->prefix.empty() ? 0 : 1;
    pool.Release(kStart, offer->lease, "");
    if (!offer->prefix.empty()) continue;
    EXPECT_TRUE(PublishAll(pool, kStart, prompt, "full").ok());
  }
  return hits;
}

// Belady's answer for a cycle of N with room for C: (C - 1) / (N - 1).
TEST(PoolWorkflowTest, StepsToExecutionHitsWhatAnOracleWouldInACycle) {
  constexpr int kRounds = kAgents - 1;
  EXPECT_EQ(Hits(PoolEviction::kSteps, kRounds), kRounds * kAgents * (kRoom - 1) / (kAgents - 1));
  EXPECT_EQ(Hits(PoolEviction::kLru, kRounds), 0);
}

TEST(PoolWorkflowTest, WhatTheNextAgentNeedsIsLoadedBeforehand) {
  FakeTiers tiers;
  Pool pool(Limits(PoolEviction::kLru), TestCatalogue(), TestTables(), &tiers);
  for (int agent = 0; agent < kAgents; ++agent) {
    ASSERT_TRUE(PublishAll(pool, kStart, PromptOfAgent(agent), "full").ok());
  }
  ASSERT_TRUE(pool.UpdateWorkflow(kStart, Cycle()).ok());
  EXPECT_THAT(pool.TakeLoads(), IsEmpty()) << "nobody runs yet";
  const auto receipt = pool.UpdateWorkflow(kStart, RunningNow(2, kAgents - 1));  // agent 0 is next, and was forgotten
  ASSERT_TRUE(receipt.ok()) << receipt.status();
  EXPECT_EQ(receipt->chunks_ready, 1);
  EXPECT_EQ(receipt->chunks_prefetched, 1);
  const std::vector<LoadJob> jobs = pool.TakeLoads();
  ASSERT_THAT(jobs, SizeIs(1));
  EXPECT_TRUE(jobs[0].is_prefetch());
  EXPECT_EQ(jobs[0].id.key, PromptOfAgent(0).keys[0]);
  EXPECT_TRUE(pool.UpdateWorkflow(kStart, RunningNow(2, kAgents - 1)).ok());
  EXPECT_THAT(pool.TakeLoads(), IsEmpty()) << "it is on its way";
  pool.FinishLoad(kStart, jobs[0], tiers.Load(jobs[0]));
  const auto offer = pool.Plan(kStart, DemandOf(PromptOfAgent(0)));
  ASSERT_THAT(offer->prefix, SizeIs(1));
  EXPECT_EQ(offer->prefix[0].tier, Tier::kHost);
}

TEST(PoolWorkflowTest, AnotherTenantsChunksAreNeitherLoadedNorCounted) {
  FakeTiers tiers;
  Pool pool(Limits(PoolEviction::kLru), TestCatalogue(), TestTables(), &tiers);
  for (int agent = 0; agent < kAgents; ++agent) {
    ASSERT_TRUE(PublishAll(pool, kStart, PromptOfAgent(agent), "full").ok());
  }
  WorkflowUpdate graph = Cycle();
  graph.tenant = "other";
  ASSERT_TRUE(pool.UpdateWorkflow(kStart, graph).ok());
  WorkflowUpdate running = RunningNow(2, kAgents - 1);
  running.tenant = "other";
  const auto receipt = pool.UpdateWorkflow(kStart, running);
  ASSERT_TRUE(receipt.ok()) << receipt.status();
  EXPECT_EQ(receipt->chunks_ready + receipt->chunks_prefetched, 0);
  EXPECT_THAT(pool.TakeLoads(), IsEmpty());
}

TEST(PoolWorkflowTest, OldVersionsAreRefusedAndWhatIsNotRenewedEnds) {
  Pool pool(Limits(PoolEviction::kSteps), TestCatalogue(), TestTables());
  ASSERT_TRUE(pool.UpdateWorkflow(kStart, Cycle()).ok());
  ASSERT_TRUE(pool.UpdateWorkflow(kStart, RunningNow(3, 0)).ok());
  EXPECT_EQ(pool.UpdateWorkflow(kStart, RunningNow(2, 1)).status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(pool.UpdateWorkflow(kStart + absl::Minutes(6), RunningNow(4, 1)).status().code(),
            absl::StatusCode::kNotFound);
}

TEST(PoolWorkflowTest, AClientHearsWhichOfItsNextAgentsCanBeRead) {
  FakeTiers tiers;
  Pool pool(Limits(PoolEviction::kLru), TestCatalogue(), TestTables(), &tiers);
  for (int agent = 0; agent < kAgents; ++agent) {
    ASSERT_TRUE(PublishAll(pool, kStart, PromptOfAgent(agent), "full").ok());
  }
  WorkflowUpdate graph = Cycle();
  graph.prefixes.back().second.push_back(Sha256("never stored"));
  ASSERT_TRUE(pool.UpdateWorkflow(kStart, graph).ok());
  const auto receipt = pool.UpdateWorkflow(kStart, RunningNow(2, kAgents - 1));
  ASSERT_TRUE(receipt.ok()) << receipt.status();
  ASSERT_THAT(receipt->next, SizeIs(2));
  EXPECT_EQ(receipt->next[0].name, NameOfAgent(kAgents - 1));
  EXPECT_EQ(receipt->next[0].steps, 0);
  EXPECT_EQ(receipt->next[0].chunks, 2);
  EXPECT_EQ(receipt->next[0].readiness.ready, 1u);
  EXPECT_FALSE(receipt->next[0].readiness.loading);
  EXPECT_EQ(receipt->next[1].name, NameOfAgent(0));
  EXPECT_EQ(receipt->next[1].readiness.ready, 0u);
  EXPECT_TRUE(receipt->next[1].readiness.loading);
  const std::vector<LoadJob> jobs = pool.TakeLoads();
  ASSERT_THAT(jobs, SizeIs(1));
  pool.FinishLoad(kStart, jobs[0], tiers.Load(jobs[0]));
  const auto again = pool.UpdateWorkflow(kStart, RunningNow(2, kAgents - 1));
  EXPECT_EQ(again->next[1].readiness.ready, 1u);
  EXPECT_FALSE(again->next[1].readiness.loading);
}

TEST(PoolWorkflowTest, AGraphWithAWrongPrefixLeavesTheOldOne) {
  Pool pool(Limits(PoolEviction::kSteps), TestCatalogue(), TestTables());
  ASSERT_TRUE(pool.UpdateWorkflow(kStart, Cycle()).ok());
  WorkflowUpdate wrong = Cycle();
  wrong.version = 2;
  wrong.agents.resize(1);
  wrong.agents[0].after.clear();
  EXPECT_EQ(pool.UpdateWorkflow(kStart, wrong).status().code(), absl::StatusCode::kInvalidArgument);
  const auto receipt = pool.UpdateWorkflow(kStart, RunningNow(2, 1));
  ASSERT_TRUE(receipt.ok()) << receipt.status();
  EXPECT_THAT(receipt->next, SizeIs(2));
}

}  // namespace
}  // namespace decant
