// Workflows of agents, and how many steps remain until each agent runs (KVFlow, arXiv 2507.07400).
//
// A client registers a graph: agents, and after which others each runs - after all of them or after any one. While it
// runs it says which agents run now. From that follows for every agent its steps to execution: 0 for those that run; of
// an agent that waits for any, one more than the least of those before it; for all, one more than the greatest
// of those that have not finished since it last ran; never when what it waits for never comes. Loops are welcome. Or
// the client, who may know better, states the steps itself.
//
// A chunk is needed as soon as the first of the agents whose fixed prompt it is part of, in any workflow. What no
// workflow names is never needed as far as is known (kNeverNeeded), and a workflow that is not renewed in time is
// forgotten, so that a client that died holds nothing.
#ifndef DECANT_COMMON_POLICY_WORKFLOW_H_
#define DECANT_COMMON_POLICY_WORKFLOW_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/base/digest.h"
#include "common/store/steps.h"

namespace decant {

enum class Join : uint8_t { kAny = 0, kAll = 1 };

struct WorkflowAgent {
  std::string name;
  Join join = Join::kAny;
  std::vector<std::string> after;  // names; none: it starts the workflow
};

// (who waits for all, whom it does not wait for any more)
using FinishedArms = std::set<std::pair<std::string, std::string>>;

// By agent in the order given: steps until it runs when `running` run now. REQUIRES: every name is an agent's.
std::vector<int32_t> StepsToExecution(absl::Span<const WorkflowAgent> agents, absl::Span<const std::string> running,
                                      const FinishedArms& finished = {});

// A workflow is known by whose it is.
struct WorkflowId {
  uint32_t tenant = 0;
  std::string client;
  friend bool operator<(const WorkflowId& a, const WorkflowId& b) {
    return std::tie(a.tenant, a.client) < std::tie(b.tenant, b.client);
  }
};

// By agent: the chunks of its fixed prompt, from token 0.
using AgentPrefixes = std::vector<std::pair<std::string, std::vector<Digest>>>;

struct NeededChunk {
  uint32_t tenant = 0;
  Digest key;
  int32_t steps = kNeverNeeded;
};

// An agent that runs soon, and what it needs.
struct NextAgent {
  std::string client;
  std::string name;
  int32_t steps = 0;
  absl::Span<const Digest> prefix;
};

struct WorkflowLimits {
  size_t workflows = 1024;  // of a tenant
  size_t agents = 256;      // of a workflow
  size_t chunks = 65536;    // of a workflow's fixed prompts together
  absl::Duration longest_life = absl::Minutes(10);
};

// Not thread-safe.
class WorkflowTable {
 public:
  explicit WorkflowTable(const WorkflowLimits& limits = {}) : limits_(limits) {}

  // Makes or replaces a workflow, which nobody expects to run until Running or State says so. Updates carry a version
  // that grows: the same one again changes nothing but renews (so that a client may repeat what it is not sure of), an
  // older one is ABORTED. INVALID_ARGUMENT for two agents of one name, an unknown name or two prefixes of one agent;
  // RESOURCE_EXHAUSTED above the limits. A life above the longest is cut. Errors change nothing.
  absl::Status Register(absl::Time now, const WorkflowId& id, uint64_t version, std::vector<WorkflowAgent> agents,
                        absl::Duration life, const AgentPrefixes& prefixes = {});
  // Which agents run now. NOT_FOUND for an unknown workflow, INVALID_ARGUMENT for an unknown agent, ABORTED as
  // Register.
  absl::Status Running(absl::Time now, const WorkflowId& id, uint64_t version, absl::Span<const std::string> agents,
                       absl::Duration life);
  // The steps of some agents as the client states them; the others are never needed. Errors as Running.
  absl::Status State(absl::Time now, const WorkflowId& id, uint64_t version,
                     absl::Span<const std::pair<std::string, int32_t>> steps, absl::Duration life);
  void Forget(const WorkflowId& id);
  void Expire(absl::Time now);

  // Steps until the first of the tenant's agents needs the chunk.
  int32_t StepsOf(uint32_t tenant, const Digest& key) const;
  // Chunks whose steps may have changed since the last call, each with what they are now: for StepsEviction::SetSteps.
  std::vector<NeededChunk> TakeChanged();
  // The tenant's agents that run within so many steps, the first ones in front. Valid until the next update.
  std::vector<NextAgent> Next(uint32_t tenant, int32_t within_steps) const;

  size_t size() const { return workflows_.size(); }

 private:
  struct Agent {
    int32_t steps = kNeverNeeded;
    std::vector<Digest> prefix;
  };
  struct Workflow {
    uint64_t version = 0;
    absl::Time until;
    std::vector<WorkflowAgent> graph;
    std::vector<Agent> agents;  // in the order of the graph
    std::set<std::string> running;
    FinishedArms finished;
  };

  absl::Status Check(const std::vector<WorkflowAgent>& agents, const AgentPrefixes& prefixes) const;
  size_t CountOf(uint32_t tenant) const;
  // The workflow to update, unless the version is older than its own.
  absl::StatusOr<Workflow*> Find(absl::Time now, const WorkflowId& id, uint64_t version);
  // Keeps it alive; then whether the version is new.
  bool Renew(absl::Time now, Workflow& workflow, uint64_t version, absl::Duration life) const;
  static void FollowArms(Workflow& workflow, std::set<std::string> running);
  void SetSteps(uint32_t tenant, Workflow& workflow, const std::vector<int32_t>& steps);
  void Use(uint32_t tenant, const Agent& agent);
  void Unuse(uint32_t tenant, const Agent& agent);

  const WorkflowLimits limits_;
  std::map<WorkflowId, Workflow> workflows_;
  using TenantKey = std::pair<uint32_t, Digest>;
  // By chunk: how many of its tenant's agents need it in how many steps.
  absl::flat_hash_map<TenantKey, std::map<int32_t, int32_t>> needs_;
  absl::flat_hash_set<TenantKey> changed_;
};

// Whether a prompt's stored prefix can be read now: what a scheduler that passes over requests asks.
enum class ChunkPresence : uint8_t { kAbsent = 0, kLoading = 1, kReady = 2 };

struct Readiness {
  size_t ready = 0;      // chunks from the front
  bool loading = false;  // the chunk behind them is on its way: better wait than recompute
};

Readiness ReadinessOf(absl::Span<const Digest> keys, absl::FunctionRef<ChunkPresence(const Digest&)> presence);

}  // namespace decant

#endif  // DECANT_COMMON_POLICY_WORKFLOW_H_
