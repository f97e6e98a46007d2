// One UpdateWorkflow call at the router's edge: the prompts of agents become keys, and every shard of the pool is told,
// since the agents of one workflow may have their chunks anywhere.
#ifndef DECANT_SERVICES_ROUTER_WORKFLOW_CALL_RPC_H_
#define DECANT_SERVICES_ROUTER_WORKFLOW_CALL_RPC_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "decant/v1/generation.pb.h"
#include "services/router/router.h"

namespace decant {

class WorkflowCall {
 public:
  // Tokenises the prompts. INVALID_ARGUMENT for one that is none, and for one of an agent that the graph does not have.
  static absl::StatusOr<std::shared_ptr<WorkflowCall>> Create(std::string tenant, const v1::WorkflowRequest& request,
                                                              const RouterModel& model);

  // What to send to each of so many shards. UNAVAILABLE as Router::KeysOf.
  absl::StatusOr<v1::WorkflowUpdate> Ask(const Router& router, size_t shards);
  // From any thread, once for each shard. True when it was the last.
  bool TakeAnswer(const absl::StatusOr<v1::WorkflowReply>& reply);
  // What the shards that answered have in sum; an error when none did, or when one refused.
  absl::StatusOr<v1::WorkflowReply> Reply();

 private:
  WorkflowCall() = default;

  v1::WorkflowUpdate update_;
  std::vector<std::pair<int, std::vector<int32_t>>> prompts_;  // of agents of the graph, by their index
  absl::Mutex mutex_;
  size_t open_ ABSL_GUARDED_BY(mutex_) = 0;
  int answered_ ABSL_GUARDED_BY(mutex_) = 0;
  v1::WorkflowReply sum_ ABSL_GUARDED_BY(mutex_);
  absl::Status lost_ ABSL_GUARDED_BY(mutex_);     // a shard that does not answer
  absl::Status refused_ ABSL_GUARDED_BY(mutex_);  // what a shard thinks of the update
};

}  // namespace decant

#endif  // DECANT_SERVICES_ROUTER_WORKFLOW_CALL_RPC_H_
