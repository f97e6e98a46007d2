// Clients, workers and time. Every public method is one event: it changes the requests it concerns, then Dispatch gives
// the places that became free to those who wait.
#include "services/router/router.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/random.h"

namespace decant {
namespace {

std::string IdKey(const RequestTerms& terms) {
  return absl::StrCat(terms.tenant.size(), ":", terms.tenant, terms.request_id);
}

bool IsRefusal(absl::StatusCode code) {
  return code == absl::StatusCode::kInvalidArgument || code == absl::StatusCode::kNotFound ||
         code == absl::StatusCode::kFailedPrecondition || code == absl::StatusCode::kResourceExhausted ||
         code == absl::StatusCode::kAlreadyExists;
}

}  // namespace

Router::Router(RouterModel model, RouterLimits limits, RouterWorld& world)
    : model_(std::move(model)),
      limits_(limits),
      world_(world),
      registry_(model_, limits_.most_workers, limits_.prefills_per_worker, limits_.silence),
      ledger_(limits_.most_explained),
      end_tokens_(model_.end_tokens.begin(), model_.end_tokens.end()) {}

void Router::Generate(absl::Time now, RequestNumber number, PreparedRequest prepared) {
  if (!admitting_) {
    Refuse(number, absl::UnavailableError("this router is shutting down; ask another one"));
    return;
  }
  if (running() >= limits_.most_running) {
    Refuse(number, absl::ResourceExhaustedError(absl::StrCat(
                       running(), " requests are running, which is this router's bound; ask again later")));
    return;
  }
  if (prepared.terms.request_id.empty()) prepared.terms.request_id = MakeRequestId();
  const auto [id, is_new] = by_id_.try_emplace(IdKey(prepared.terms), number);
  if (!is_new) {
    Refuse(number, absl::AlreadyExistsError(
                       absl::StrCat("a request '", prepared.terms.request_id, "' is running; choose another id")));
    return;
  }
  const absl::Time arrived = now - prepared.tokenise_time;
  auto made = std::make_unique<Request>(number, *model_.tokenizer, std::move(prepared), arrived);
  Request& request = *made;
  requests_[number] = std::move(made);
  request.AddHop("tokenise", arrived, now);
  request.deadline = arrived + limits_.request;
  request.queued_at = now;
  if (const absl::Status in_time = CheckInTime(now, request, QueuedTokens()); !in_time.ok()) {
    EndWithError(request, in_time, "refused");
    return;
  }
  queue_.push_back(number);
  SetStepDeadline(request, absl::InfiniteFuture());
  Dispatch(now);
}

void Router::Refuse(RequestNumber number, const absl::Status& status) {
  world_.EmitError(number, status);
  world_.NoteEnded(RequestOutcome{"refused", 0, 0});
}

void Router::ClientGone(absl::Time now, RequestNumber number, const absl::Status& why) {
  Request* request = Live(number);
  if (request == nullptr || !request->client_waits) return;
  request->explanation.state = "cancelled";
  EndWithError(*request, why, "cancelled");
  Dispatch(now);
}

absl::StatusOr<Explanation> Router::Explain(absl::string_view tenant, absl::string_view request_id) const {
  RequestTerms terms;
  terms.tenant = std::string(tenant);
  terms.request_id = std::string(request_id);
  if (const auto id = by_id_.find(IdKey(terms)); id != by_id_.end()) {
    return requests_.at(id->second)->explanation;
  }
  return ledger_.Find(tenant, request_id);
}

KeySpace Router::SpaceOf(absl::string_view tenant, RunType run_type) const {
  KeySpace space;
  space.tenant_namespace =
      limits_.tenant_secret.empty() ? NamespaceOf(tenant) : SaltedNamespaceOf(limits_.tenant_secret, tenant);
  space.model_fingerprint = model_.fingerprint;
  space.geometry = model_.geometry;
  space.run_type = run_type;
  return space;
}

absl::StatusOr<std::vector<Digest>> Router::KeysOf(absl::string_view tenant, absl::Span<const int32_t> tokens) const {
  if (registry_.count(WorkerFacts::Kind::kPrefill) + registry_.count(WorkerFacts::Kind::kDecode) == 0) {
    return absl::UnavailableError("no worker has come yet, so that nobody knows in which run type the model runs");
  }
  return ChunkKeys(SpaceOf(tenant, registry_.run_type()), tokens, limits_.chunk_tokens);
}

absl::Status Router::WorkerRegistered(absl::Time now, const WorkerFacts& facts) {
  const absl::Status added = registry_.Add(now, facts);
  if (added.ok()) world_.NoteWorkerCame(facts.address);
  Dispatch(now);
  return added;
}

void Router::LoadReported(absl::Time now, const std::string& address, const WorkerLoad& load) {
  registry_.ReportLoad(now, address, load);
  Dispatch(now);
}

void Router::WorkerLeft(absl::Time now, const std::string& address) {
  if (registry_.Remove(address)) world_.NoteWorkerGone(address, absl::OkStatus());
  Dispatch(now);
}

void Router::WorkerLost(absl::Time now, const std::string& address, const absl::Status& why) {
  if (!registry_.Remove(address)) return;
  world_.NoteWorkerGone(address, why);
  std::vector<RequestNumber> numbers;
  for (const auto& [number, request] : requests_) numbers.push_back(number);
  std::sort(numbers.begin(), numbers.end());
  for (const RequestNumber number : numbers) LoseWorkerOf(now, *Live(number), address, why);
  Dispatch(now);
}

void Router::LoseWorkerOf(absl::Time now, Request& request, const std::string& address, const absl::Status& why) {
  Attempt& attempt = request.attempt;
  const auto lost = [&](absl::string_view kind) {
    return absl::UnavailableError(absl::StrCat(kind, " worker ", address, " was lost: ", why.message()));
  };
  if (request.stage == Stage::kReserving && attempt.decode == address) {
    CancelReserve(request);
    ReserveRefused(now, request, lost("decode"));
    return;
  }
  if (attempt.tokens_open && attempt.decode == address) {
    request.strikes[address] += kBlamed;
    FailAttempt(now, request, "decode", lost("decode"));
    return;
  }
  if (!attempt.prefill_open || attempt.prefill != address) return;
  if (request.stage == Stage::kPouring && !attempt.flowing) {
    request.strikes[address] += kBlamed;
    FailAttempt(now, request, "prefill", lost("prefill"));
    return;
  }
  // Its work was committed; only its numbers will never come.
  ClosePrefill(request);
  if (request.stage == Stage::kClosing) {
    if (request.client_waits) EmitFinish(request);
    End(request);
  } else {
    request.stage = Stage::kStreaming;
  }
}

void Router::Tick(absl::Time now) {
  while (!wakes_.empty() && wakes_.begin()->first <= now) Expire(now, *Live(wakes_.begin()->second));
  for (const std::string& address : registry_.SilentSince(now)) {
    WorkerLost(now, address,
               absl::UnavailableError(absl::StrCat("not heard of for ", absl::FormatDuration(limits_.silence))));
  }
  Dispatch(now);
}

absl::Time Router::NextDeadline() const {
  const absl::Time silence = registry_.NextSilence();
  return wakes_.empty() ? silence : std::min(silence, wakes_.begin()->first);
}

void Router::Expire(absl::Time now, Request& request) {
  if (request.deadline <= now) {
    if (!request.client_waits) {  // prefill never gave its numbers
      End(request);
      return;
    }
    if (request.stage == Stage::kClosing) {
      EmitFinish(request);
      End(request);
      return;
    }
    EndWithError(request,
                 absl::DeadlineExceededError(absl::StrCat(
                     "the request took longer than ", absl::FormatDuration(limits_.request), "; ", request.answered(),
                     " of ", request.terms.max_tokens, " tokens came. Ask for fewer, or when there is less load")),
                 "failed");
    return;
  }
  SetStepDeadline(request, absl::InfiniteFuture());
  switch (request.stage) {
    case Stage::kPlanning:
      PlanAlone(now, request, absl::StrCat("the pool gave no plan within ", absl::FormatDuration(limits_.plan)));
      break;
    case Stage::kReserving:
      CancelReserve(request);
      ReserveRefused(now, request,
                     absl::UnavailableError(absl::StrCat("decode worker ", request.attempt.decode,
                                                         " did not answer a reservation in time")));
      break;
    case Stage::kClosing:
      // The client has waited long enough. Prefill may still be publishing, so its call and lease stay open.
      if (request.client_waits) EmitFinish(request);
      break;
    case Stage::kQueued:
    case Stage::kPouring:
    case Stage::kStreaming:
      break;
  }
}

void Router::Dispatch(absl::Time now) {
  while (!queue_.empty()) {
    Request* request = Live(queue_.front());
    if (request == nullptr || request->stage != Stage::kQueued) {
      queue_.pop_front();
      continue;
    }
    const int32_t places = registry_.prefill_places();
    // Without any place the request is not left to wait: StartPlan tells it which worker is missing.
    if (places > 0 && places_taken_ >= places) return;
    queue_.pop_front();
    if (const absl::Status in_time = CheckInTime(now, *request, 0); !in_time.ok()) {
      EndWithError(*request, in_time, "refused");
      continue;
    }
    StartPlan(now, *request);
  }
}

int64_t Router::QueuedTokens() const {
  int64_t tokens = 0;
  for (const RequestNumber number : queue_) {
    const auto it = requests_.find(number);
    if (it != requests_.end() && it->second->stage == Stage::kQueued) tokens += it->second->prompt_tokens;
  }
  return tokens;
}

absl::Status Router::CheckInTime(absl::Time now, const Request& request, int64_t queued_tokens) const {
  const double wanted = request.terms.slo.ttft_ms;
  if (wanted <= 0 || request.answered() > 0) return absl::OkStatus();
  const QueueAhead ahead{queued_tokens, tokens_taken_, registry_.prefill_places()};
  const bool waits = places_taken_ >= ahead.places;
  const double own = admission_.ServiceMs(request.prompt_tokens);
  const double before = absl::ToDoubleMilliseconds(now - request.arrived) + (waits ? admission_.WaitMs(ahead) : 0);
  // Under load prompts hold their places longer, so that `own` alone must not open the door.
  const bool alone = !waits && request.queued_at == now;
  if (before + own <= wanted || alone) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrFormat("the first token would come about %.0f ms after the request, which allows %.0f ms: others "
                      "wait before it. Ask again later, or with more time",
                      before + own, wanted));
}

void Router::EndWithError(Request& request, const absl::Status& status, absl::string_view outcome) {
  CloseAttempt(request);
  request.client_waits = false;
  world_.EmitError(request.number, status);
  if (request.explanation.state == "running") request.explanation.state = status.ToString();
  if (outcome == "failed" && IsRefusal(status.code())) outcome = "refused";
  world_.NoteEnded(RequestOutcome{outcome, request.ttft_ms(), request.tpot_ms()});
  End(request);
}

void Router::End(Request& request) {
  CloseAttempt(request);
  if (request.stage == Stage::kQueued) {
    queue_.erase(std::remove(queue_.begin(), queue_.end(), request.number), queue_.end());
  }
  wakes_.erase({request.wake, request.number});
  by_id_.erase(IdKey(request.terms));
  ledger_.Add(std::move(request.explanation));
  requests_.erase(request.number);
}

Request* Router::Live(RequestNumber number) {
  const auto it = requests_.find(number);
  return it == requests_.end() ? nullptr : it->second.get();
}

Request* Router::Find(AttemptId attempt) {
  const auto it = attempts_.find(attempt);
  return it == attempts_.end() ? nullptr : Live(it->second);
}

void Router::NewAttemptId(Request& request) {
  attempts_.erase(request.attempt.id);
  request.attempt.id = ++last_attempt_;
  attempts_[request.attempt.id] = request.number;
}

void Router::SetStepDeadline(Request& request, absl::Time at) {
  wakes_.erase({request.wake, request.number});
  request.wake = std::min(at, request.deadline);
  wakes_.insert({request.wake, request.number});
}

void Router::Hold(Request& request) {
  if (std::exchange(request.holds_place, true)) return;
  ++places_taken_;
  tokens_taken_ += request.attempt.prompt_tokens;
}

void Router::LetGo(Request& request) {
  if (!std::exchange(request.holds_place, false)) return;
  --places_taken_;
  tokens_taken_ -= request.attempt.prompt_tokens;
}

std::string Router::MakeRequestId() { return absl::StrFormat("%016x", MixBits(limits_.id_seed, ++ids_made_)); }

}  // namespace decant
