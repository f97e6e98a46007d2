// Workflows in the pool: what agents will need stays longest, and what runs next is brought back into host memory.
#include <optional>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "common/base/status_macros.h"
#include "services/pool/pool.h"

namespace decant {

absl::StatusOr<WorkflowReceipt> Pool::UpdateWorkflow(absl::Time now, const WorkflowUpdate& update) {
  Expire(now);
  DECANT_ASSIGN_OR_RETURN(const uint32_t tenant, tier_.tenants().NumberOf(update.tenant));
  const WorkflowId id{tenant, update.client};
  switch (update.what) {
    case WorkflowUpdate::What::kForget:
      workflows_.Forget(id);
      break;
    case WorkflowUpdate::What::kGraph:
      DECANT_RETURN_IF_ERROR(workflows_.Register(now, id, update.version, update.agents, update.life, update.prefixes));
      break;
    case WorkflowUpdate::What::kRunning:
      DECANT_RETURN_IF_ERROR(workflows_.Running(now, id, update.version, update.running, update.life));
      break;
    case WorkflowUpdate::What::kSteps:
      DECANT_RETURN_IF_ERROR(workflows_.State(now, id, update.version, update.steps, update.life));
      break;
  }
  NoteSteps();
  return Prefetch(id);
}

// Of the tenant's chunks only, for its own agents only.
WorkflowReceipt Pool::Prefetch(const WorkflowId& id) {
  WorkflowReceipt receipt;
  EntryUse use;
  use.operation = ++operations_;
  use.counts = false;
  absl::flat_hash_set<Digest> seen;
  const std::vector<NextAgent> agents = workflows_.Next(id.tenant, limits_.prefetch_steps);
  for (const NextAgent& agent : agents) {
    for (const Digest& key : agent.prefix) {
      if (seen.size() == limits_.prefetch_chunks) break;
      if (!seen.insert(key).second) continue;
      std::optional<VariantId> below;
      bool in_host = false;
      for (const VariantId variant : index_.Find(key, id.tenant)) {
        in_host |= index_.record(variant).tier == Tier::kHost;
        // The better form serves whatever the agent accepts.
        if (!below.has_value() || index_.record(*below).quality < index_.record(variant).quality) below = variant;
      }
      if (in_host) {
        ++receipt.chunks_ready;
      } else if (below.has_value()) {
        ReadAhead(index_.Get(*below), use);
        ++receipt.chunks_prefetched;
      }
    }
  }
  for (const NextAgent& agent : agents) {
    if (agent.client != id.client) continue;
    const auto presence = [&](const Digest& key) { return PresenceOf(id.tenant, key); };
    receipt.next.push_back(
        {agent.name, agent.steps, static_cast<int32_t>(agent.prefix.size()), ReadinessOf(agent.prefix, presence)});
  }
  return receipt;
}

ChunkPresence Pool::PresenceOf(uint32_t tenant, const Digest& key) const {
  ChunkPresence presence = ChunkPresence::kAbsent;
  for (const VariantId id : index_.Find(key, tenant)) {
    const VariantRecord& record = index_.record(id);
    if (record.tier == Tier::kHost) return ChunkPresence::kReady;
    const auto awaited = awaited_.find(record.entry);
    if (awaited != awaited_.end() && awaited->second.loads > 0) presence = ChunkPresence::kLoading;
  }
  return presence;
}

// What the policy of a tenant thinks of its entries follows the workflows.
void Pool::NoteSteps() {
  for (const NeededChunk& changed : workflows_.TakeChanged()) {
    if (limits_.eviction != PoolEviction::kSteps) continue;
    for (const VariantId id : index_.Find(changed.key, changed.tenant)) {
      const VariantRecord& record = index_.record(id);
      if (record.tier != Tier::kHost) continue;
      static_cast<StepsEviction&>(tier_.policy(record.tenant)).SetSteps(record.entry, changed.steps);
    }
  }
}

}  // namespace decant
