#include "common/policy/workflow.h"

#include <algorithm>
#include <iterator>
#include <queue>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace decant {
namespace {

size_t IndexOf(absl::Span<const WorkflowAgent> agents, const std::string& name) {
  const auto found =
      std::find_if(agents.begin(), agents.end(), [&](const WorkflowAgent& agent) { return agent.name == name; });
  return static_cast<size_t>(found - agents.begin());
}

}  // namespace

// Agents are settled in the order of their steps, as by Dijkstra: one that waits for any is settled by the first
// settled agent before it, one that waits for all by the last. Both never come out below what settles them, which is
// all that the order needs (Knuth, A generalization of Dijkstra's algorithm, 1977), loops included.
std::vector<int32_t> StepsToExecution(absl::Span<const WorkflowAgent> agents, absl::Span<const std::string> running,
                                      const FinishedArms& finished) {
  std::vector<int32_t> steps(agents.size(), kNeverNeeded);
  std::vector<size_t> waits_for(agents.size());
  std::vector<std::vector<size_t>> before(agents.size());  // whom an agent's end brings nearer
  for (size_t agent = 0; agent < agents.size(); ++agent) {
    const bool all = agents[agent].join == Join::kAll;
    waits_for[agent] = all ? 0 : 1;
    for (const std::string& name : agents[agent].after) {
      if (all && finished.contains({agents[agent].name, name})) continue;
      before[IndexOf(agents, name)].push_back(agent);
      if (all) ++waits_for[agent];
    }
  }
  std::queue<size_t> settled;  // steps never fall along it
  for (const std::string& name : running) {
    const size_t agent = IndexOf(agents, name);
    if (steps[agent] == 0) continue;
    steps[agent] = 0;
    settled.push(agent);
  }
  for (size_t agent = 0; agent < agents.size(); ++agent) {  // nothing is left to wait for
    if (steps[agent] != kNeverNeeded || waits_for[agent] > 0 || agents[agent].after.empty()) continue;
    steps[agent] = 1;
    settled.push(agent);
  }
  for (; !settled.empty(); settled.pop()) {
    for (const size_t next : before[settled.front()]) {
      if (steps[next] != kNeverNeeded || --waits_for[next] > 0) continue;
      steps[next] = steps[settled.front()] + 1;
      settled.push(next);
    }
  }
  return steps;
}

// ---- The table.

absl::Status WorkflowTable::Check(const std::vector<WorkflowAgent>& agents, const AgentPrefixes& prefixes) const {
  if (agents.size() > limits_.agents) {
    return absl::ResourceExhaustedError(absl::StrCat(agents.size(), " agents; a workflow may have ", limits_.agents));
  }
  for (size_t i = 0; i < agents.size(); ++i) {
    if (IndexOf(agents, agents[i].name) != i) {
      return absl::InvalidArgumentError(absl::StrCat("agent '", agents[i].name, "' stands in the graph twice"));
    }
    for (const std::string& name : agents[i].after) {
      if (IndexOf(agents, name) < agents.size()) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("agent '", agents[i].name, "' runs after '", name, "', which is not in the graph"));
    }
  }
  size_t chunks = 0;
  std::set<std::string> named;
  for (const auto& [name, keys] : prefixes) {
    if (IndexOf(agents, name) == agents.size()) {
      return absl::InvalidArgumentError(absl::StrCat("a prefix of agent '", name, "', which is not in the graph"));
    }
    if (!named.insert(name).second) {
      return absl::InvalidArgumentError(absl::StrCat("agent '", name, "' has two prefixes"));
    }
    chunks += keys.size();
  }
  if (chunks <= limits_.chunks) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat(chunks, " chunks in the prompts of a workflow; there may be ", limits_.chunks));
}

void WorkflowTable::Use(uint32_t tenant, const Agent& agent) {
  for (const Digest& key : agent.prefix) {
    ++needs_[{tenant, key}][agent.steps];
    changed_.insert({tenant, key});
  }
}

void WorkflowTable::Unuse(uint32_t tenant, const Agent& agent) {
  for (const Digest& key : agent.prefix) {
    const auto needs = needs_.find({tenant, key});
    const auto at = needs->second.find(agent.steps);
    if (--at->second == 0) needs->second.erase(at);
    if (needs->second.empty()) needs_.erase(needs);
    changed_.insert({tenant, key});
  }
}

void WorkflowTable::SetSteps(uint32_t tenant, Workflow& workflow, const std::vector<int32_t>& steps) {
  for (size_t i = 0; i < steps.size(); ++i) {
    Agent& agent = workflow.agents[i];
    if (agent.steps == steps[i]) continue;
    Unuse(tenant, agent);
    agent.steps = steps[i];
    Use(tenant, agent);
  }
}

// An agent has finished when it runs no more, or when one runs that can only have started behind it.
void WorkflowTable::FollowArms(Workflow& workflow, std::set<std::string> running) {
  std::set<std::string> ended;
  for (const std::string& name : workflow.running) {
    if (!running.contains(name)) ended.insert(name);
  }
  for (const WorkflowAgent& agent : workflow.graph) {
    if (!running.contains(agent.name) || workflow.running.contains(agent.name)) continue;
    std::erase_if(workflow.finished,
                  [&](const auto& arm) { return arm.first == agent.name || arm.second == agent.name; });
    if (agent.join == Join::kAny && agent.after.size() != 1) continue;
    for (const std::string& name : agent.after) {
      if (!running.contains(name)) ended.insert(name);
    }
  }
  for (const WorkflowAgent& agent : workflow.graph) {
    if (agent.join != Join::kAll || running.contains(agent.name)) continue;
    for (const std::string& name : agent.after) {
      if (ended.contains(name)) workflow.finished.insert({agent.name, name});
    }
  }
  workflow.running = std::move(running);
}

absl::StatusOr<WorkflowTable::Workflow*> WorkflowTable::Find(absl::Time now, const WorkflowId& id, uint64_t version) {
  Expire(now);
  const auto found = workflows_.find(id);
  if (found == workflows_.end()) {
    return absl::NotFoundError(absl::StrCat("workflow '", id.client, "' is unknown or was not renewed"));
  }
  if (version >= found->second.version) return &found->second;
  return absl::AbortedError(
      absl::StrCat("version ", version, " of workflow '", id.client, "' comes after ", found->second.version));
}

bool WorkflowTable::Renew(absl::Time now, Workflow& workflow, uint64_t version, absl::Duration life) const {
  workflow.until = std::max(workflow.until, now + std::min(life, limits_.longest_life));
  return std::exchange(workflow.version, version) != version;
}

size_t WorkflowTable::CountOf(uint32_t tenant) const {
  const auto first = workflows_.lower_bound(WorkflowId{tenant, ""});
  const auto end = std::find_if(first, workflows_.end(), [&](const auto& one) { return one.first.tenant != tenant; });
  return static_cast<size_t>(std::distance(first, end));
}

absl::Status WorkflowTable::Register(absl::Time now, const WorkflowId& id, uint64_t version,
                                     std::vector<WorkflowAgent> agents, absl::Duration life,
                                     const AgentPrefixes& prefixes) {
  DECANT_RETURN_IF_ERROR(Check(agents, prefixes));
  const absl::StatusOr<Workflow*> known = Find(now, id, version);
  if (!known.ok() && !absl::IsNotFound(known.status())) return known.status();
  if (known.ok() && !Renew(now, **known, version, life)) return absl::OkStatus();
  if (!known.ok() && CountOf(id.tenant) >= limits_.workflows) {
    return absl::ResourceExhaustedError(absl::StrCat("there are ", CountOf(id.tenant), " workflows already"));
  }
  Forget(id);
  Workflow& workflow = workflows_[id];
  workflow.version = version;
  workflow.until = now + std::min(life, limits_.longest_life);
  workflow.agents.resize(agents.size());
  workflow.graph = std::move(agents);
  for (const auto& [name, keys] : prefixes) {
    Agent& agent = workflow.agents[IndexOf(workflow.graph, name)];
    agent.prefix = keys;
    Use(id.tenant, agent);
  }
  return absl::OkStatus();
}

absl::Status WorkflowTable::Running(absl::Time now, const WorkflowId& id, uint64_t version,
                                    absl::Span<const std::string> agents, absl::Duration life) {
  DECANT_ASSIGN_OR_RETURN(Workflow* const workflow, Find(now, id, version));
  for (const std::string& name : agents) {
    if (IndexOf(workflow->graph, name) < workflow->graph.size()) continue;
    return absl::InvalidArgumentError(absl::StrCat("workflow '", id.client, "' has no agent '", name, "'"));
  }
  if (!Renew(now, *workflow, version, life)) return absl::OkStatus();
  FollowArms(*workflow, {agents.begin(), agents.end()});
  SetSteps(id.tenant, *workflow, StepsToExecution(workflow->graph, agents, workflow->finished));
  return absl::OkStatus();
}

absl::Status WorkflowTable::State(absl::Time now, const WorkflowId& id, uint64_t version,
                                  absl::Span<const std::pair<std::string, int32_t>> stated, absl::Duration life) {
  DECANT_ASSIGN_OR_RETURN(Workflow* const workflow, Find(now, id, version));
  std::vector<int32_t> steps(workflow->graph.size(), kNeverNeeded);
  for (const auto& [name, count] : stated) {
    const size_t agent = IndexOf(workflow->graph, name);
    if (agent == workflow->graph.size() || count < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("workflow '", id.client, "': ", count, " steps for agent '", name, "'"));
    }
    steps[agent] = count;
  }
  if (!Renew(now, *workflow, version, life)) return absl::OkStatus();
  SetSteps(id.tenant, *workflow, steps);
  return absl::OkStatus();
}

void WorkflowTable::Forget(const WorkflowId& id) {
  const auto found = workflows_.find(id);
  if (found == workflows_.end()) return;
  for (const Agent& agent : found->second.agents) Unuse(id.tenant, agent);
  workflows_.erase(found);
}

void WorkflowTable::Expire(absl::Time now) {
  for (auto it = workflows_.begin(); it != workflows_.end();) {
    const auto workflow = it++;
    if (workflow->second.until > now) continue;
    const WorkflowId id = workflow->first;
    Forget(id);
  }
}

int32_t WorkflowTable::StepsOf(uint32_t tenant, const Digest& key) const {
  const auto needs = needs_.find({tenant, key});
  return needs == needs_.end() ? kNeverNeeded : needs->second.begin()->first;
}

std::vector<NeededChunk> WorkflowTable::TakeChanged() {
  std::vector<NeededChunk> changed;
  for (const auto& [tenant, key] : changed_) changed.push_back(NeededChunk{tenant, key, StepsOf(tenant, key)});
  changed_.clear();
  std::sort(changed.begin(), changed.end(),
            [](const auto& a, const auto& b) { return std::tie(a.tenant, a.key) < std::tie(b.tenant, b.key); });
  return changed;
}

std::vector<NextAgent> WorkflowTable::Next(uint32_t tenant, int32_t within_steps) const {
  std::vector<NextAgent> agents;
  for (auto it = workflows_.lower_bound(WorkflowId{tenant, ""}); it != workflows_.end(); ++it) {
    const auto& [id, workflow] = *it;
    if (id.tenant != tenant) break;
    for (size_t i = 0; i < workflow.agents.size(); ++i) {
      const Agent& agent = workflow.agents[i];
      if (agent.steps > within_steps || agent.steps == kNeverNeeded) continue;
      agents.push_back(NextAgent{id.client, workflow.graph[i].name, agent.steps, agent.prefix});
    }
  }
  std::stable_sort(agents.begin(), agents.end(), [](const auto& a, const auto& b) { return a.steps < b.steps; });
  return agents;
}

Readiness ReadinessOf(absl::Span<const Digest> keys, absl::FunctionRef<ChunkPresence(const Digest&)> presence) {
  Readiness readiness;
  for (const Digest& key : keys) {
    const ChunkPresence is = presence(key);
    readiness.loading = is == ChunkPresence::kLoading;
    if (is != ChunkPresence::kReady) return readiness;
    ++readiness.ready;
  }
  return readiness;
}

}  // namespace decant
