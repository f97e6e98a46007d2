// The router's core: the life of every request, as a machine that events drive.
//
// It has no thread, clock, socket or lock: an event comes with the time, and what follows from it goes out through
// RouterWorld before the method returns. So it runs unchanged inside a simulator. One thread at a time.
//
//   queued -> planning -> reserving -> pouring -> streaming -> closing -> ended
//     ^______________________|____________|___________|   a try failed: planned again, at most `most_replans` times
#ifndef DECANT_SERVICES_ROUTER_ROUTER_H_
#define DECANT_SERVICES_ROUTER_ROUTER_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/index/keys.h"
#include "common/policy/admission.h"
#include "services/router/explain_ledger.h"
#include "services/router/messages.h"
#include "services/router/request.h"
#include "services/router/request_check.h"
#include "services/router/router_world.h"
#include "services/router/worker_registry.h"

namespace decant {

struct RouterLimits {
  bool has_pool = true;
  int32_t chunk_tokens = 64;
  int32_t most_running = 256;  // requests, queued ones included
  int32_t most_workers = 256;
  int32_t most_replans = 3;         // of one request
  int32_t prefills_per_worker = 2;  // poured at once: a reservation whose prefill waits too long would expire
  size_t most_explained = 1000;
  absl::Duration request = absl::Seconds(300);
  absl::Duration plan = absl::Milliseconds(250);
  absl::Duration reserve = absl::Seconds(2);        // for the answer, beyond the wait for pages
  absl::Duration reserve_wait = absl::Seconds(10);  // for pages, when every decode worker is full
  absl::Duration closing = absl::Seconds(1);        // for prefill's numbers, after the last token
  absl::Duration silence = absl::Seconds(5);        // of a worker, until it counts as lost
  uint64_t id_seed = 0;                             // of the request ids the router makes
  // The secret of all routers of a pool, at least 16 bytes, that tenants' namespaces are derived from. Empty: they are
  // plain functions of the names, and only the default tenant should be served.
  std::string tenant_secret;
};

class Router {
 public:
  Router(RouterModel model, RouterLimits limits, RouterWorld& world);

  // ---- clients. Every Generate is answered by exactly one EmitFinished or EmitError with its number.
  void Generate(absl::Time now, RequestNumber number, PreparedRequest request);
  // Stops both workers at once; the request ends with EmitError(why). Ignored after its end.
  void ClientGone(absl::Time now, RequestNumber number, const absl::Status& why);
  // NOT_FOUND for a request that is neither running nor among the last ended ones of this tenant.
  absl::StatusOr<Explanation> Explain(absl::string_view tenant, absl::string_view request_id) const;

  // The keys of a prompt's whole chunks, as its requests look them up. UNAVAILABLE before the first worker has come,
  // who says in which run type the model runs.
  absl::StatusOr<std::vector<Digest>> KeysOf(absl::string_view tenant, absl::Span<const int32_t> tokens) const;

  // ---- answers. Those of a try that was given up change nothing; what they hold is given back.
  void Planned(absl::Time now, AttemptId attempt, absl::StatusOr<PlanAnswer> answer);
  void Reserved(absl::Time now, AttemptId attempt, const std::string& decode, absl::StatusOr<ReserveAnswer> answer);
  void Prefilled(absl::Time now, AttemptId attempt, absl::StatusOr<PrefillAnswer> answer);
  void Tokens(absl::Time now, AttemptId attempt, const TokenBatch& batch);
  void TokensEnded(absl::Time now, AttemptId attempt, const absl::Status& status);

  // ---- workers. Errors as WorkerRegistry::Add.
  absl::Status WorkerRegistered(absl::Time now, const WorkerFacts& facts);
  void LoadReported(absl::Time now, const std::string& address, const WorkerLoad& load);
  // It takes no new work; what runs on it goes on, as on a worker that drains.
  void WorkerLeft(absl::Time now, const std::string& address);
  // What runs on it is planned again.
  void WorkerLost(absl::Time now, const std::string& address, const absl::Status& why);

  // ---- time.
  void Tick(absl::Time now);
  absl::Time NextDeadline() const;  // when Tick is due at the latest

  // New requests are refused with UNAVAILABLE from now on.
  void StopAdmitting() { admitting_ = false; }
  int32_t running() const { return static_cast<int32_t>(requests_.size()); }
  int32_t workers(WorkerFacts::Kind kind) const { return registry_.count(kind); }
  bool knows(const std::string& address) const { return registry_.Contains(address); }

 private:
  KeySpace SpaceOf(absl::string_view tenant, RunType run_type) const;
  Request* Find(AttemptId attempt);
  Request* Live(RequestNumber number);
  void NewAttemptId(Request& request);
  void SetStepDeadline(Request& request, absl::Time at);
  void Hold(Request& request);
  void LetGo(Request& request);

  // ---- router.cc: clients, workers, time. A method that takes a Request may end it; nobody touches it afterwards.
  // Starts queued requests while prefill workers have room; runs at the end of every event.
  void Dispatch(absl::Time now);
  // RESOURCE_EXHAUSTED when the load makes the request, with `queued_tokens` before it, miss its time to first token.
  // One that would miss it on an idle machine, too, is served as well as may be.
  absl::Status CheckInTime(absl::Time now, const Request& request, int64_t queued_tokens) const;
  int64_t QueuedTokens() const;
  void Expire(absl::Time now, Request& request);
  void LoseWorkerOf(absl::Time now, Request& request, const std::string& address, const absl::Status& why);
  void Refuse(RequestNumber number, const absl::Status& status);
  void EndWithError(Request& request, const absl::Status& status, absl::string_view outcome);
  void End(Request& request);
  std::string MakeRequestId();

  // ---- router_attempt.cc: one try.
  void StartPlan(absl::Time now, Request& request);
  void KeepBestPairs(Request& request);
  void PlanAlone(absl::Time now, Request& request, absl::string_view why);
  absl::Status AdoptPlan(Request& request, PlanAnswer answer);
  void ReserveNext(absl::Time now, Request& request);
  absl::Duration PagesWait(absl::Time now, const Request& request) const;
  void SendReserve(absl::Time now, Request& request, size_t plan);
  void ReserveRefused(absl::Time now, Request& request, const absl::Status& status);
  void Pour(absl::Time now, Request& request, const ReserveAnswer& answer);
  // The try failed: all of it is closed and the request is queued again, or ends.
  void FailAttempt(absl::Time now, Request& request, absl::string_view cause, const absl::Status& status);
  void CloseAttempt(Request& request);
  void CancelReserve(Request& request);
  void ClosePrefill(Request& request);
  void CloseDecode(Request& request);
  void GiveLeaseBack(Request& request);

  // ---- router_answer.cc: the answer.
  void TakeTokens(absl::Time now, Request& request, const TokenBatch& batch);
  // All tokens are there; waits a little for prefill's numbers.
  void Complete(absl::Time now, Request& request, absl::string_view reason);
  void EmitFinish(Request& request);

  const RouterModel model_;
  const RouterLimits limits_;
  RouterWorld& world_;
  WorkerRegistry registry_;
  ExplainLedger ledger_;
  const absl::flat_hash_set<int32_t> end_tokens_;
  bool admitting_ = true;
  AttemptId last_attempt_ = 0;
  uint64_t ids_made_ = 0;
  int32_t places_taken_ = 0;  // requests that plan, reserve or pour
  int64_t tokens_taken_ = 0;  // their prompts
  Admission admission_;
  absl::flat_hash_map<RequestNumber, std::unique_ptr<Request>> requests_;
  absl::flat_hash_map<std::string, RequestNumber> by_id_;
  absl::flat_hash_map<AttemptId, RequestNumber> attempts_;
  absl::flat_hash_set<uint64_t> leases_;  // held by attempts
  std::deque<RequestNumber> queue_;       // may name requests that have ended since
  absl::btree_set<std::pair<absl::Time, RequestNumber>> wakes_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_ROUTER_ROUTER_H_
