// Workflows in the pool: what agents will need stays longest, and what runs next is brought back into host memory.
#include <utility>

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
      DECANT_RETURN_IF_ERROR(workflows_.Register(now, id, update.version, update.agents, update.life));
      for (const auto& [agent, keys] : update.prefixes) {
        DECANT_RETURN_IF_ERROR(workflows_.MarkPrefix(id, agent, keys));
      }
      break;
    case WorkflowUpdate::What::kRunning:
      DECANT_RETURN_IF_ERROR(workflows_.Running(now, id, update.version, update.running, update.life));
      break;
    case WorkflowUpdate::What::kSteps:
      DECANT_RETURN_IF_ERROR(workflows_.State(now, id, update.version, update.steps, update.life));
      break;
  }
  NoteSteps();
  return Prefetch(tenant);
}

// Tells a tenant of its own chunks only.
WorkflowReceipt Pool::Prefetch(uint32_t tenant) {
  WorkflowReceipt receipt;
  EntryUse use;
  use.operation = ++operations_;
  use.counts = false;
  for (const NeededChunk& needed : workflows_.Prefetch(limits_.prefetch_steps, limits_.prefetch_chunks)) {
    std::optional<VariantId> below;
    bool in_host = false;
    for (const VariantId id : index_.Find(needed.key, tenant)) {
      in_host |= index_.record(id).tier == Tier::kHost;
      // The better form serves whatever the agent accepts.
      if (!below.has_value() || index_.record(*below).quality < index_.record(id).quality) below = id;
    }
    if (in_host) {
      ++receipt.chunks_ready;
    } else if (below.has_value()) {
      Await(index_.Get(*below), use, true);
      ++receipt.chunks_prefetched;
    }
  }
  return receipt;
}

// What the policy of a tenant thinks of its entries follows the workflows.
void Pool::NoteSteps() {
  for (const NeededChunk& changed : workflows_.TakeChanged()) {
    if (limits_.eviction != PoolEviction::kSteps) continue;
    for (const VariantId id : index_.Find(changed.key)) {
      const VariantRecord& record = index_.record(id);
      if (record.tier != Tier::kHost) continue;
      static_cast<StepsEviction&>(tier_.policy(record.tenant)).SetSteps(record.entry, changed.steps);
    }
  }
}

}  // namespace decant
