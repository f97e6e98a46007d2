// RouterWorld over gRPC: calls whose answers become events of the core's loop, and the streams of clients.
#ifndef DECANT_SERVICES_ROUTER_WORLD_RPC_H_
#define DECANT_SERVICES_ROUTER_WORLD_RPC_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "decant/v1/generation.pb.h"
#include "services/router/event_loop.h"
#include "services/router/metrics.h"
#include "services/router/pool_shards.h"
#include "services/router/request_check.h"
#include "services/router/router.h"
#include "services/router/router_world.h"
#include "services/rpc/call.h"
#include "services/rpc/channel.h"
#include "services/rpc/reply.h"

namespace decant {

using ClientStream = StreamAnswer<v1::GenerateEvent>;

// Lives on the loop's thread but for its construction and destruction.
class RpcWorld final : public RouterWorld {
 public:
  // Everything is lent; `calls` must end (CancelAndWait) before this and the router do. `router` is set before the
  // first event.
  RpcWorld(const RouterModel& model, PoolShards& shards, EventLoop& loop, Channels& channels, Calls& calls,
           RouterMetrics metrics)
      : model_(model), shards_(shards), loop_(loop), channels_(channels), calls_(calls), metrics_(metrics) {}
  void SetRouter(Router& router) { router_ = &router; }

  // The events of `request` go to `stream`; `ended` runs when its last one was written.
  void AddClient(RequestNumber request, std::shared_ptr<ClientStream> stream, std::function<void()> ended);

  void SendPlan(AttemptId attempt, const PlanQuery& query, absl::Duration limit) override;
  void SendReserve(AttemptId attempt, const std::string& decode, const ReserveQuery& query,
                   absl::Duration limit) override;
  void SendPrefill(AttemptId attempt, const std::string& prefill, const PrefillOrder& order,
                   absl::Duration limit) override;
  void OpenTokens(AttemptId attempt, const std::string& decode, uint64_t ticket, absl::Duration limit) override;
  void CancelReserve(AttemptId attempt) override { Cancel(reserves_, attempt); }
  void CancelPrefill(AttemptId attempt) override { Cancel(prefills_, attempt); }
  void CancelTokens(AttemptId attempt) override { Cancel(tokens_, attempt); }
  void ReleaseTicket(const std::string& decode, uint64_t ticket) override;
  void ReleaseLease(uint64_t name) override;
  void SendReport(const ReportFacts& facts) override;
  void EmitStarted(RequestNumber request, const StartedNotice& notice) override;
  void EmitPiece(RequestNumber request, const PieceNotice& notice) override;
  void EmitFinished(RequestNumber request, const FinishedNotice& notice) override;
  void EmitError(RequestNumber request, const absl::Status& status) override;
  void NoteChosen(absl::string_view profile) override { metrics_.Chosen(profile); }
  void NoteReplanned(absl::string_view cause) override { metrics_.Replanned(cause); }
  void NotePlannedWithoutPool() override { metrics_.PlannedWithoutPool(); }
  void NoteEnded(const RequestOutcome& outcome) override { metrics_.Ended(outcome); }
  void NoteWorkerCame(absl::string_view address) override;
  void NoteWorkerGone(absl::string_view address, const absl::Status& why) override;

 private:
  using OpenCalls = absl::flat_hash_map<AttemptId, Call>;  // under way; erased with the answer
  struct Client {
    std::shared_ptr<ClientStream> stream;
    std::function<void()> ended;
  };

  // The shards of `pools` are asked one after another until one has something of the prompt.
  struct Planning {
    AttemptId attempt;
    v1::PlanRequest request;
    std::vector<std::string> pools;
    absl::Time deadline;
  };
  // `before`: what the shard before `which` answered.
  void AskPlan(const Planning& planning, size_t which, const absl::StatusOr<PlanAnswer>& before);
  void Planned(absl::Time now, const Planning& planning, size_t which, absl::StatusOr<PlanAnswer> answer);
  static void Cancel(OpenCalls& open, AttemptId attempt);
  // Says so when a shard of the pool has gone or come back.
  void SeePool(const std::string& pool, const absl::Status& answered);
  void Write(RequestNumber request, v1::GenerateEvent event);
  void EndClient(RequestNumber request, const absl::Status& status);

  const RouterModel& model_;
  PoolShards& shards_;
  EventLoop& loop_;
  Channels& channels_;
  Calls& calls_;
  RouterMetrics metrics_;
  Router* router_ = nullptr;
  absl::flat_hash_set<std::string> pools_lost_;
  OpenCalls reserves_;
  OpenCalls prefills_;
  OpenCalls tokens_;
  absl::flat_hash_map<RequestNumber, Client> clients_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_ROUTER_WORLD_RPC_H_
