// What the router's core does to the world: calls to pool and workers, words to clients.
#ifndef DECANT_SERVICES_ROUTER_ROUTER_WORLD_H_
#define DECANT_SERVICES_ROUTER_ROUTER_WORLD_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/router/messages.h"

namespace decant {

// How a request ended, for counters.
struct RequestOutcome {
  absl::string_view outcome;  // stop, length, cancelled, refused, failed
  double ttft_ms = 0;         // 0 = no token came
  double tpot_ms = 0;         // 0 = fewer than two tokens came
};

// Methods return at once and never call the core back; answers come as later events that carry the same attempt.
// Arguments are lent for the call. A `limit` is the time after which the call must have failed.
class RouterWorld {
 public:
  virtual ~RouterWorld() = default;

  virtual void SendPlan(AttemptId attempt, const PlanQuery& query, absl::Duration limit) = 0;
  virtual void SendReserve(AttemptId attempt, const std::string& decode, const ReserveQuery& query,
                           absl::Duration limit) = 0;
  virtual void SendPrefill(AttemptId attempt, const std::string& prefill, const PrefillOrder& order,
                           absl::Duration limit) = 0;
  virtual void OpenTokens(AttemptId attempt, const std::string& decode, uint64_t ticket, absl::Duration limit) = 0;

  // The answers of cancelled calls may still come; a reservation or lease in them is then given back by the core.
  virtual void CancelReserve(AttemptId attempt) = 0;
  virtual void CancelPrefill(AttemptId attempt) = 0;
  virtual void CancelTokens(AttemptId attempt) = 0;
  // Giving back twice, or what has expired, does no harm; a lost message only leaves it to its deadline.
  virtual void ReleaseTicket(const std::string& decode, uint64_t ticket) = 0;
  virtual void ReleaseLease(uint64_t lease) = 0;
  virtual void SendReport(const ReportFacts& facts) = 0;

  // Of one request: at most one Started, then Pieces whose tokens follow each other without gap or repetition, then
  // exactly one of Finished and Error, and nothing after it.
  virtual void EmitStarted(RequestNumber request, const StartedNotice& notice) = 0;
  virtual void EmitPiece(RequestNumber request, const PieceNotice& notice) = 0;
  virtual void EmitFinished(RequestNumber request, const FinishedNotice& notice) = 0;
  virtual void EmitError(RequestNumber request, const absl::Status& status) = 0;

  virtual void NoteChosen(absl::string_view profile) = 0;
  virtual void NoteReplanned(absl::string_view cause) = 0;  // prefill, decode
  virtual void NotePlannedWithoutPool() {}                  // though there should be one
  virtual void NoteWorkerCame(absl::string_view /*address*/) {}
  // `why` is OK when it left in good order.
  virtual void NoteWorkerGone(absl::string_view /*address*/, const absl::Status& /*why*/) {}
  virtual void NoteEnded(const RequestOutcome& outcome) = 0;
};

}  // namespace decant

#endif  // DECANT_SERVICES_ROUTER_ROUTER_WORLD_H_
