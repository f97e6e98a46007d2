#include "services/router/workflow_call_rpc.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "services/router/request_check.h"
#include "services/rpc/status_edge.h"
#include "services/rpc/worker_rpc.h"

namespace decant {
namespace {

absl::StatusOr<std::vector<int32_t>> TokensOf(const v1::WorkflowRequest::Prompt& prompt, const RouterModel& model) {
  GenerateInput input;
  input.terms.max_tokens = 1;
  if (prompt.has_text()) {
    input.text = prompt.text();
  } else {
    input.token_ids.assign(prompt.token_ids().ids().begin(), prompt.token_ids().ids().end());
  }
  absl::StatusOr<PreparedRequest> prepared = PrepareRequest(model, std::move(input));
  if (prepared.ok()) return std::move(prepared->prompt);
  return absl::InvalidArgumentError(
      absl::StrCat("the prompt of agent '", prompt.agent().substr(0, 64), "': ", prepared.status().message()));
}

// A shard that is not there is a miss like any other; what it says of the update counts.
bool IsLoss(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) || absl::IsCancelled(status);
}

}  // namespace

absl::StatusOr<std::shared_ptr<WorkflowCall>> WorkflowCall::Create(std::string tenant,
                                                                   const v1::WorkflowRequest& request,
                                                                   const RouterModel& model) {
  const std::shared_ptr<WorkflowCall> call(new WorkflowCall);
  call->update_ = request.update();
  call->update_.set_tenant(std::move(tenant));
  const auto& agents = request.update().graph().agents();
  for (const v1::WorkflowRequest::Prompt& prompt : request.prompts()) {
    const auto agent =
        std::find_if(agents.begin(), agents.end(), [&](const auto& one) { return one.name() == prompt.agent(); });
    if (agent == agents.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("a prompt of agent '", prompt.agent().substr(0, 64), "', whom the graph does not have"));
    }
    DECANT_ASSIGN_OR_RETURN(std::vector<int32_t> tokens, TokensOf(prompt, model));
    call->prompts_.emplace_back(static_cast<int>(agent - agents.begin()), std::move(tokens));
  }
  return call;
}

absl::StatusOr<v1::WorkflowUpdate> WorkflowCall::Ask(const Router& router, size_t shards) {
  {
    absl::MutexLock lock(&mutex_);
    open_ = shards;
  }
  // Keys are what the router makes them, never what a client states.
  if (update_.has_graph()) {
    for (v1::WorkflowUpdate::Agent& agent : *update_.mutable_graph()->mutable_agents()) agent.clear_prefix_keys();
  }
  for (const auto& [index, tokens] : prompts_) {
    DECANT_ASSIGN_OR_RETURN(const std::vector<Digest> keys, router.KeysOf(update_.tenant(), tokens));
    v1::WorkflowUpdate::Agent& agent = *update_.mutable_graph()->mutable_agents(index);
    for (const Digest& key : keys) agent.add_prefix_keys(DigestBytes(key));
  }
  return update_;
}

bool WorkflowCall::TakeAnswer(const absl::StatusOr<v1::WorkflowReply>& reply) {
  absl::MutexLock lock(&mutex_);
  if (reply.ok()) {
    ++answered_;
    sum_.set_chunks_ready(sum_.chunks_ready() + reply->chunks_ready());
    sum_.set_chunks_prefetched(sum_.chunks_prefetched() + reply->chunks_prefetched());
  } else {
    (IsLoss(reply.status()) ? lost_ : refused_) = reply.status();
  }
  return --open_ == 0;
}

absl::StatusOr<v1::WorkflowReply> WorkflowCall::Reply() {
  absl::MutexLock lock(&mutex_);
  if (!refused_.ok()) return refused_;
  if (answered_ == 0) return AsError(lost_);
  return sum_;
}

}  // namespace decant
