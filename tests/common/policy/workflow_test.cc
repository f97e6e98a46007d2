#include "common/policy/workflow.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace decant {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

const absl::Time kNow = absl::FromUnixSeconds(1000);
const absl::Duration kLife = absl::Minutes(1);
const WorkflowId kId{0, "client"};

std::vector<Digest> Keys(const std::vector<std::string>& names) {
  std::vector<Digest> keys;
  for (const std::string& name : names) keys.push_back(Sha256(name));
  return keys;
}

std::vector<std::string> Names(const std::vector<NeededChunk>& chunks, const std::vector<std::string>& among) {
  std::vector<std::string> names;
  for (const NeededChunk& chunk : chunks) {
    for (const std::string& name : among) {
      if (Sha256(name) == chunk.key) names.push_back(name);
    }
  }
  return names;
}

// plan -> {search, code} -> merge (after all) ; plan or merge -> answer (after any) -> plan: a loop.
std::vector<WorkflowAgent> Graph() {
  return {{"plan", Join::kAny, {"answer"}},
          {"search", Join::kAny, {"plan"}},
          {"code", Join::kAny, {"search"}},
          {"merge", Join::kAll, {"search", "code"}},
          {"answer", Join::kAny, {"plan", "merge"}}};
}

TEST(StepsToExecutionTest, AnyTakesTheFirstAndAllTheLast) {
  EXPECT_THAT(StepsToExecution(Graph(), {{"plan"}}), ElementsAre(0, 1, 2, 3, 1));
  EXPECT_THAT(StepsToExecution(Graph(), {{"merge"}}), ElementsAre(2, 3, 4, 0, 1));
  EXPECT_THAT(StepsToExecution(Graph(), std::vector<std::string>{"search", "answer"}), ElementsAre(1, 0, 1, 2, 0));
}

TEST(StepsToExecutionTest, WhatWaitsForWhatNeverComesNeverRuns) {
  const std::vector<WorkflowAgent> graph = {{"a", Join::kAny, {}},
                                            {"b", Join::kAll, {"a", "b"}},  // waits for itself
                                            {"c", Join::kAny, {"b"}},
                                            {"d", Join::kAll, {"a"}}};
  EXPECT_THAT(StepsToExecution(graph, {{"a"}}), ElementsAre(0, kNeverNeeded, kNeverNeeded, 1));
  EXPECT_THAT(StepsToExecution(graph, {}), testing::Each(kNeverNeeded));
}

TEST(StepsToExecutionTest, AJoinDoesNotWaitForArmsThatHaveFinished) {
  EXPECT_THAT(StepsToExecution(Graph(), {{"code"}}),
              ElementsAre(kNeverNeeded, kNeverNeeded, 0, kNeverNeeded, kNeverNeeded));
  EXPECT_THAT(StepsToExecution(Graph(), {{"code"}}, {{"merge", "search"}}), ElementsAre(3, 4, 0, 1, 2));
  EXPECT_THAT(StepsToExecution(Graph(), {}, {{"merge", "search"}, {"merge", "code"}}), ElementsAre(3, 4, 5, 1, 2));
}

TEST(StepsToExecutionTest, ACycleCountsRound) {
  std::vector<WorkflowAgent> ring;
  for (int i = 0; i < 6; ++i) {
    ring.push_back({std::to_string(i), Join::kAny, {std::to_string((i + 5) % 6)}});
  }
  EXPECT_THAT(StepsToExecution(ring, {{"2"}}), ElementsAre(4, 5, 0, 1, 2, 3));
}

class WorkflowTableTest : public testing::Test {
 protected:
  void SetUp() override { Register({}); }
  void Register(const AgentPrefixes& prefixes) {
    table_.Forget(kId);
    ASSERT_TRUE(table_.Register(kNow, kId, 1, Graph(), kLife, prefixes).ok());
  }
  int32_t StepsOf(const std::string& key, uint32_t tenant = 0) { return table_.StepsOf(tenant, Sha256(key)); }
  // The agents that run within so many steps.
  std::vector<std::string> Next(int32_t within_steps, uint32_t tenant = 0) {
    std::vector<std::string> names;
    for (const NextAgent& agent : table_.Next(tenant, within_steps)) names.push_back(agent.name);
    return names;
  }

  WorkflowTable table_;
};

TEST_F(WorkflowTableTest, ASharedChunkIsNeededAsSoonAsItsFirstUser) {
  Register({{"plan", Keys({"system", "p"})}, {"merge", Keys({"system", "m"})}});
  EXPECT_EQ(StepsOf("system"), kNeverNeeded);
  ASSERT_TRUE(table_.Running(kNow, kId, 2, {{"plan"}}, kLife).ok());
  EXPECT_EQ(StepsOf("system"), 0);
  EXPECT_EQ(StepsOf("m"), 3);
  ASSERT_TRUE(table_.Running(kNow, kId, 3, {{"search"}}, kLife).ok());
  EXPECT_EQ(StepsOf("system"), 2);
  EXPECT_EQ(StepsOf("p"), 4);
  EXPECT_EQ(StepsOf("unknown"), kNeverNeeded);
  // Another workflow that needs it at once.
  const WorkflowId other{0, "other"};
  ASSERT_TRUE(table_.Register(kNow, other, 1, {{"only", Join::kAny, {}}}, kLife, {{"only", Keys({"system"})}}).ok());
  ASSERT_TRUE(table_.Running(kNow, other, 2, {{"only"}}, kLife).ok());
  EXPECT_EQ(StepsOf("system"), 0);
  table_.Forget(other);
  EXPECT_EQ(StepsOf("system"), 2);
}

TEST_F(WorkflowTableTest, ArmsFinishOneAfterTheOther) {
  Register({{"merge", Keys({"m"})}});
  ASSERT_TRUE(table_.Running(kNow, kId, 2, {{"search"}}, kLife).ok());
  EXPECT_EQ(StepsOf("m"), 2);
  ASSERT_TRUE(table_.Running(kNow, kId, 3, {{"code"}}, kLife).ok());
  EXPECT_EQ(StepsOf("m"), 1) << "search has finished";
  ASSERT_TRUE(table_.Running(kNow, kId, 4, {}, kLife).ok());
  EXPECT_EQ(StepsOf("m"), 1) << "both have";
  ASSERT_TRUE(table_.Running(kNow, kId, 5, {{"merge"}}, kLife).ok());
  EXPECT_EQ(StepsOf("m"), 0);
  ASSERT_TRUE(table_.Running(kNow, kId, 6, {{"plan"}}, kLife).ok());
  EXPECT_EQ(StepsOf("m"), 3) << "the next round waits for both again";
  // What runs behind search can only have started when that had finished.
  ASSERT_TRUE(table_.Running(kNow, kId, 7, {{"code"}}, kLife).ok());
  EXPECT_EQ(StepsOf("m"), 1);
  // One that runs again is waited for again.
  const std::vector<std::string> both = {"search", "code"};
  ASSERT_TRUE(table_.Running(kNow, kId, 8, both, kLife).ok());
  EXPECT_EQ(StepsOf("m"), 1);
  ASSERT_TRUE(table_.Running(kNow, kId, 9, {{"search"}}, kLife).ok());
  EXPECT_EQ(StepsOf("m"), 1) << "code has finished, search runs";
}

TEST_F(WorkflowTableTest, UpdatesMayBeRepeatedButNotGoBack) {
  Register({{"plan", Keys({"p"})}});
  ASSERT_TRUE(table_.Running(kNow, kId, 5, {{"plan"}}, kLife).ok());
  EXPECT_TRUE(table_.Running(kNow, kId, 5, {{"merge"}}, kLife).ok());  // the same version: nothing new
  EXPECT_EQ(StepsOf("p"), 0);
  EXPECT_EQ(table_.Running(kNow, kId, 4, {{"merge"}}, kLife).code(), absl::StatusCode::kAborted);
  EXPECT_EQ(table_.Register(kNow, kId, 4, Graph(), kLife).code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(table_.Register(kNow, kId, 5, {}, kLife).ok());
  EXPECT_EQ(StepsOf("p"), 0);
  EXPECT_TRUE(table_.Register(kNow, kId, 6, Graph(), kLife).ok());
  EXPECT_EQ(StepsOf("p"), kNeverNeeded);
}

TEST_F(WorkflowTableTest, AClientThatDiedHoldsNothing) {
  Register({{"plan", Keys({"p"})}});
  ASSERT_TRUE(table_.Running(kNow, kId, 2, {{"plan"}}, kLife).ok());
  table_.Expire(kNow + kLife - absl::Seconds(1));
  EXPECT_EQ(table_.size(), 1u);
  ASSERT_TRUE(table_.Running(kNow + kLife - absl::Seconds(1), kId, 2, {}, kLife).ok());  // renews
  table_.Expire(kNow + kLife);
  EXPECT_EQ(StepsOf("p"), 0);
  (void)table_.TakeChanged();
  table_.Expire(kNow + 2 * kLife);
  EXPECT_EQ(table_.size(), 0u);
  EXPECT_THAT(Names(table_.TakeChanged(), {"p"}), ElementsAre("p"));
  EXPECT_EQ(table_.Running(kNow, kId, 3, {{"plan"}}, kLife).code(), absl::StatusCode::kNotFound);
}

TEST_F(WorkflowTableTest, TellsWhatChangedAndWhatToFetchFirst) {
  Register(
      {{"plan", Keys({"system", "p"})}, {"code", Keys({"system", "c1", "c2"})}, {"answer", Keys({"system", "a"})}});
  ASSERT_TRUE(table_.Running(kNow, kId, 2, {{"plan"}}, kLife).ok());
  EXPECT_EQ(table_.TakeChanged().size(), 5u);
  EXPECT_THAT(table_.TakeChanged(), IsEmpty());
  EXPECT_THAT(Next(2), ElementsAre("plan", "search", "answer", "code"));
  EXPECT_THAT(Next(1), ElementsAre("plan", "search", "answer"));
  EXPECT_EQ(table_.Next(0, 0)[0].prefix, absl::MakeConstSpan(Keys({"system", "p"})));
  const std::vector<std::pair<std::string, int32_t>> stated = {{"code", 0}, {"plan", 7}};
  ASSERT_TRUE(table_.State(kNow, kId, 3, stated, kLife).ok());
  EXPECT_THAT(Next(9), ElementsAre("code", "plan"));
  EXPECT_EQ(StepsOf("a"), kNeverNeeded);
}

// N agents in a ring, room for C prompts: LRU would hit nothing, this hits (C - 1) / (N - 1) of the turns exactly.
TEST(WorkflowEvictionTest, ARingHitsAllButOneOfItsRooms) {
  for (const auto& [agents, room] : std::vector<std::pair<size_t, size_t>>{{5, 3}, {8, 2}, {8, 7}}) {
    WorkflowTable table;
    std::vector<WorkflowAgent> ring;
    for (size_t i = 0; i < agents; ++i) {
      ring.push_back({std::to_string(i), Join::kAny, {std::to_string((i + agents - 1) % agents)}});
    }
    AgentPrefixes prefixes;
    for (const WorkflowAgent& agent : ring) prefixes.emplace_back(agent.name, Keys({agent.name}));
    ASSERT_TRUE(table.Register(kNow, kId, 1, ring, kLife, prefixes).ok());
    StepsEviction policy;
    std::vector<bool> stored(agents);
    size_t size = 0;
    size_t hits = 0;
    const size_t warm = 10 * agents;
    const size_t measured = 20 * agents * (agents - 1);
    for (size_t turn = 0; turn < warm + measured; ++turn) {
      const size_t agent = turn % agents;
      ASSERT_TRUE(table.Running(kNow, kId, turn + 2, {{ring[agent].name}}, kLife).ok());
      (void)table.TakeChanged();
      for (size_t i = 0; i < agents; ++i) policy.SetSteps(i, table.StepsOf(0, Sha256(ring[i].name)));
      if (stored[agent]) {
        hits += turn >= warm ? 1 : 0;
        continue;
      }
      if (size == room) {
        stored[policy.Evict([](uint64_t) { return true; }).value()] = false;
        --size;
      }
      policy.Track(agent, EvictionFacts{});
      policy.SetSteps(agent, 0);
      stored[agent] = true;
      ++size;
    }
    EXPECT_EQ(hits, measured * (room - 1) / (agents - 1)) << agents << " agents, room for " << room;
  }
}

TEST_F(WorkflowTableTest, RefusesWhatMakesNoSenseOrIsTooMuch) {
  const WorkflowId other{0, "other"};
  const auto code = [&](const std::vector<WorkflowAgent>& agents, const AgentPrefixes& prefixes = {}) {
    return table_.Register(kNow, other, 1, agents, kLife, prefixes).code();
  };
  const WorkflowAgent a{"a", Join::kAny, {}};
  EXPECT_EQ(code({a, a}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{"a", Join::kAny, {"b"}}}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({a}, {{"nobody", {}}}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({a}, {{"a", {}}, {"a", {}}}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(table_.Running(kNow, kId, 2, {{"nobody"}}, kLife).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(table_.size(), 1u);
  WorkflowLimits limits;
  limits.agents = 1;
  limits.chunks = 2;
  WorkflowTable small(limits);
  EXPECT_EQ(small.Register(kNow, kId, 1, Graph(), kLife).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(small.Register(kNow, kId, 1, {a}, kLife, {{"a", Keys({"1", "2", "3"})}}).code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(small.size(), 0u);
  EXPECT_TRUE(small.Register(kNow, kId, 1, {a}, kLife, {{"a", Keys({"1", "2"})}}).ok());
}

TEST_F(WorkflowTableTest, WhatIsRefusedChangesNothing) {
  Register({{"plan", Keys({"p"})}});
  ASSERT_TRUE(table_.Running(kNow, kId, 2, {{"plan"}}, kLife).ok());
  (void)table_.TakeChanged();
  const absl::Time later = kNow + kLife - absl::Seconds(1);
  const AgentPrefixes wrong = {{"search", Keys({"s"})}, {"nobody", {}}};
  EXPECT_FALSE(table_.Register(later, kId, 3, Graph(), kLife, wrong).ok());
  EXPECT_FALSE(table_.Running(later, kId, 3, {{"nobody"}}, kLife).ok());
  const std::vector<std::pair<std::string, int32_t>> stated = {{"search", 0}, {"plan", -1}};
  EXPECT_FALSE(table_.State(later, kId, 3, stated, kLife).ok());
  EXPECT_THAT(table_.TakeChanged(), IsEmpty());
  EXPECT_EQ(StepsOf("p"), 0);
  EXPECT_EQ(StepsOf("s"), kNeverNeeded);
  // Nor was it renewed, nor is the version taken.
  EXPECT_TRUE(table_.Running(kNow, kId, 3, {{"answer"}}, kLife).ok());
  EXPECT_EQ(StepsOf("p"), 1);
  table_.Expire(kNow + kLife);
  EXPECT_EQ(table_.size(), 0u);
}

TEST_F(WorkflowTableTest, ATenantsWorkflowsAreItsOwn) {
  Register({{"plan", Keys({"system"})}});
  ASSERT_TRUE(table_.Running(kNow, kId, 2, {{"search"}}, kLife).ok());
  const WorkflowId other{1, "client"};
  ASSERT_TRUE(table_.Register(kNow, other, 1, {{"only", Join::kAny, {}}}, kLife, {{"only", Keys({"system"})}}).ok());
  ASSERT_TRUE(table_.Running(kNow, other, 2, {{"only"}}, kLife).ok());
  EXPECT_EQ(StepsOf("system"), 4);
  EXPECT_EQ(StepsOf("system", 1), 0);
  EXPECT_THAT(Next(0), ElementsAre("search"));
  EXPECT_THAT(Next(0, 1), ElementsAre("only"));
  WorkflowLimits limits;
  limits.workflows = 1;
  WorkflowTable small(limits);
  ASSERT_TRUE(small.Register(kNow, kId, 1, {}, kLife).ok());
  EXPECT_EQ(small.Register(kNow, WorkflowId{0, "second"}, 1, {}, kLife).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(small.Register(kNow, other, 1, {}, kLife).ok());
  EXPECT_TRUE(small.Register(kNow, kId, 2, {}, kLife).ok()) << "one that is there may change";
}

TEST(ReadinessTest, CountsFromTheFrontAndSeesWhatIsOnItsWay) {
  const std::vector<Digest> keys = Keys({"a", "b", "c"});
  const auto with = [&](ChunkPresence second) {
    return ReadinessOf(keys,
                       [&, second](const Digest& key) { return key == keys[1] ? second : ChunkPresence::kReady; });
  };
  EXPECT_EQ(with(ChunkPresence::kReady).ready, 3u);
  EXPECT_EQ(with(ChunkPresence::kLoading).ready, 1u);
  EXPECT_TRUE(with(ChunkPresence::kLoading).loading);
  EXPECT_EQ(with(ChunkPresence::kAbsent).ready, 1u);
  EXPECT_FALSE(with(ChunkPresence::kAbsent).loading);
}

}  // namespace
}  // namespace decant
