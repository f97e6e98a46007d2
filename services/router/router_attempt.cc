// One try of one request: plan, reserve, pour. A try that fails is closed whole - calls, ticket, lease, place - before
// the next one starts, and its id is never used again, so that nothing late can touch what came after it.
#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/router/router.h"

namespace decant {
namespace {

// Few pairs are worth pricing; the pool's answer grows with them.
constexpr size_t kMostPairs = 16;

// The pool has understood the question and says no: asking without it would give another answer than it means.
bool IsVerdict(absl::StatusCode code) {
  return code == absl::StatusCode::kInvalidArgument || code == absl::StatusCode::kNotFound ||
         code == absl::StatusCode::kFailedPrecondition || code == absl::StatusCode::kOutOfRange;
}

bool MeetsFloor(const PairPlan& plan, const RequestTerms& terms) {
  if (!terms.profile.empty() && plan.profile != terms.profile) return false;
  // With a lossy prefix even `full` is not exact.
  if (plan.profile == "full" && plan.reused_tokens == 0) return true;
  return plan.quality >= terms.fidelity_floor && (terms.fidelity_floor < 1 || plan.profile == "full");
}

// How many parts may be believed: in order, without gap, of this very prompt, and leaving a token to compute.
size_t BelievableParts(const std::vector<PlannedPart>& parts, const std::vector<Digest>& keys, int32_t chunk_tokens,
                       int64_t prompt_tokens) {
  size_t count = 0;
  while (count < parts.size() && count < keys.size()) {
    const PlannedPart& part = parts[count];
    const int64_t first = static_cast<int64_t>(count) * chunk_tokens;
    if (part.key != keys[count] || part.first_token != first || part.tokens != chunk_tokens) break;
    if (first + chunk_tokens >= prompt_tokens) break;
    ++count;
  }
  return count;
}

// What a client learns when a request is given up: a code that says whether asking again makes sense.
absl::Status GaveUp(const Request& request, const absl::Status& last) {
  const std::string message =
      absl::StrCat("gave up after ", request.replans + 1, " tries with ", request.answered(), " of ",
                   request.terms.max_tokens, " tokens delivered; the last: ", last.message());
  switch (last.code()) {
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kFailedPrecondition:
      return absl::Status(last.code(), message);
    default:
      return absl::UnavailableError(message);
  }
}

}  // namespace

void Router::StartPlan(absl::Time now, Request& request) {
  Attempt& attempt = request.attempt;
  attempt = Attempt{};
  request.taken_at = now;
  request.AddHop("queue", request.queued_at, now);
  attempt.prompt_tokens = static_cast<int32_t>(request.tokens.size());
  attempt.candidates =
      registry_.Pairs({attempt.prompt_tokens, request.left(), request.terms.link_bits_per_s, request.terms.request_id});
  if (attempt.candidates.empty()) {
    const bool prefill = registry_.prefill_places() == 0;
    const std::string missing =
        absl::StrCat("no ", request.last_failure.ok() ? "" : "other ", prefill ? "prefill" : "decode",
                     " worker takes work now; start one with --router");
    const std::string before = absl::StrCat(request.last_failure.message(), " (", request.answered(), " of ",
                                            request.terms.max_tokens, " tokens were delivered); ");
    EndWithError(request, absl::UnavailableError(absl::StrCat(request.last_failure.ok() ? "" : before, missing)),
                 "failed");
    return;
  }
  KeepBestPairs(request);
  attempt.run_type = registry_.run_type();
  attempt.chunk_keys = ChunkKeys(SpaceOf(request.terms.tenant, attempt.run_type), request.tokens, limits_.chunk_tokens);
  attempt.step_began = now;
  Hold(request);
  NewAttemptId(request);
  request.stage = Stage::kPlanning;
  if (!limits_.has_pool) {
    PlanAlone(now, request, "this router has no pool");
    return;
  }
  PlanQuery query;
  query.request_id = request.terms.request_id;
  query.tenant = request.terms.tenant;
  query.run_type = attempt.run_type;
  query.chunk_keys = attempt.chunk_keys;
  query.chunk_tokens = limits_.chunk_tokens;
  query.prompt_tokens = attempt.prompt_tokens;
  query.max_tokens = request.left();
  query.slo = request.terms.slo;
  query.fidelity_floor = request.terms.fidelity_floor;
  query.profile = request.terms.profile;
  query.candidates = attempt.candidates;
  SetStepDeadline(request, now + limits_.plan);
  world_.SendPlan(attempt.id, query, limits_.plan);
}

// Pairs with a worker that failed this request are worth a try only when there is nothing else, and those with a busy
// prefill worker only when none is free.
void Router::KeepBestPairs(Request& request) {
  std::vector<PairCandidate>& pairs = request.attempt.candidates;
  const auto strikes = [&](const PairCandidate& pair) {
    int sum = 0;
    for (const std::string& address : {pair.prefill, pair.decode}) {
      if (const auto it = request.strikes.find(address); it != request.strikes.end()) sum += it->second;
    }
    return sum;
  };
  int fewest = std::numeric_limits<int>::max();
  for (const PairCandidate& pair : pairs) fewest = std::min(fewest, strikes(pair));
  std::erase_if(pairs, [&](const PairCandidate& pair) { return strikes(pair) > fewest; });
  const auto busy = [&](const PairCandidate& pair) { return !registry_.HasPlace(pair.prefill); };
  if (!std::all_of(pairs.begin(), pairs.end(), busy)) std::erase_if(pairs, busy);
  if (pairs.size() > kMostPairs) pairs.resize(kMostPairs);
}

void Router::Planned(absl::Time now, AttemptId id, absl::StatusOr<PlanAnswer> answer) {
  Request* request = Find(id);
  if (request == nullptr || request->stage != Stage::kPlanning) {
    // A lease that is held is a repeated answer.
    if (answer.ok() && answer->lease != 0 && !leases_.contains(answer->lease)) world_.ReleaseLease(answer->lease);
    return;
  }
  if (answer.ok()) {
    if (const absl::Status adopted = AdoptPlan(*request, *std::move(answer)); adopted.ok()) {
      request->AddHop("plan", request->attempt.step_began, now);
      ReserveNext(now, *request);
    } else {
      PlanAlone(now, *request, adopted.message());
    }
  } else if (IsVerdict(answer.status().code())) {
    EndWithError(*request, answer.status(), "failed");
  } else {
    PlanAlone(now, *request, absl::StrCat("the pool is not there: ", answer.status().message()));
  }
  Dispatch(now);
}

absl::Status Router::AdoptPlan(Request& request, PlanAnswer answer) {
  Attempt& attempt = request.attempt;
  attempt.lease = answer.lease;
  if (attempt.lease != 0) leases_.insert(attempt.lease);
  for (PairPlan& plan : answer.plans) {
    const bool known = plan.candidate >= 0 && static_cast<size_t>(plan.candidate) < attempt.candidates.size();
    if (known && MeetsFloor(plan, request.terms)) attempt.plans.push_back(std::move(plan));
  }
  if (attempt.plans.empty()) return absl::InternalError("no plan of the pool meets the request");
  attempt.by_pool = true;
  attempt.prefix = std::move(answer.prefix);
  attempt.prefix.resize(BelievableParts(attempt.prefix, attempt.chunk_keys, limits_.chunk_tokens,
                                        static_cast<int64_t>(request.tokens.size())));
  attempt.miss_reason = std::move(answer.miss_reason);
  return absl::OkStatus();
}

// Nobody can vouch for a profile's quality without the pool's table, so any floor above 0 means `full`.
void Router::PlanAlone(absl::Time now, Request& request, absl::string_view why) {
  Attempt& attempt = request.attempt;
  GiveLeaseBack(request);
  if (limits_.has_pool) world_.NotePlannedWithoutPool();
  const RequestTerms& terms = request.terms;
  const bool as_named = !terms.profile.empty() && (terms.fidelity_floor <= 0 || terms.profile == "full");
  PairPlan plan;
  plan.profile = as_named ? terms.profile : "full";
  plan.quality = plan.profile == "full" ? 1 : 0;
  plan.reason = absl::StrCat(why, "; everything is recomputed, with ",
                             as_named ? "the profile asked for" : "'full', the only profile sure to meet any floor");
  attempt.plans.clear();
  for (size_t i = 0; i < attempt.candidates.size(); ++i) {
    plan.candidate = static_cast<int32_t>(i);
    attempt.plans.push_back(plan);
  }
  attempt.miss_reason = std::string(why);
  request.AddHop("plan", attempt.step_began, now);
  ReserveNext(now, request);
}

// First every decode worker is asked for pages that are free now; when none has any, the best one is asked to queue the
// request for a while. Queueing gives up the place, so that nobody else waits for these pages.
void Router::ReserveNext(absl::Time now, Request& request) {
  Attempt& attempt = request.attempt;
  const auto pair = [&](size_t i) -> const PairCandidate& {
    return attempt.candidates[static_cast<size_t>(attempt.plans[i].candidate)];
  };
  const auto present = [&](size_t i) {
    return registry_.Contains(pair(i).prefill) && registry_.Contains(pair(i).decode);
  };
  for (size_t i = 0; i < attempt.plans.size() && !attempt.waits; ++i) {
    if (present(i) && !attempt.refused.contains(pair(i).decode)) {
      SendReserve(now, request, i);
      return;
    }
  }
  if (!attempt.waits && limits_.reserve_wait > absl::ZeroDuration()) {
    attempt.waits = true;
    for (size_t i = 0; i < attempt.plans.size(); ++i) {
      if (present(i) && attempt.without_pages.contains(pair(i).decode)) {
        LetGo(request);
        SendReserve(now, request, i);
        return;
      }
    }
  }
  if (!attempt.without_pages.empty() && attempt.failure.code() == absl::StatusCode::kResourceExhausted) {
    EndWithError(
        request,
        absl::ResourceExhaustedError(absl::StrCat("every decode worker is out of pages: ", attempt.failure.message(),
                                                  "; ask again later or for fewer tokens")),
        "failed");
    return;
  }
  FailAttempt(now, request, "decode",
              attempt.failure.ok() ? absl::UnavailableError("the planned workers are gone") : attempt.failure);
}

// Pages that come after the first token was due are of no use to who said when.
absl::Duration Router::PagesWait(absl::Time now, const Request& request) const {
  const absl::Duration wait = std::max(absl::ZeroDuration(), std::min(limits_.reserve_wait, request.deadline - now));
  const double wanted = request.terms.slo.ttft_ms;
  if (wanted <= 0 || request.answered() > 0) return wait;
  return std::clamp(request.arrived + absl::Milliseconds(wanted) - now, absl::ZeroDuration(), wait);
}

void Router::SendReserve(absl::Time now, Request& request, size_t plan) {
  Attempt& attempt = request.attempt;
  attempt.plan = plan;
  const PairCandidate& pair = attempt.candidates[static_cast<size_t>(attempt.chosen().candidate)];
  attempt.prefill = pair.prefill;
  attempt.decode = pair.decode;
  attempt.step_began = now;
  NewAttemptId(request);
  request.stage = Stage::kReserving;
  ReserveQuery query;
  query.request_id = request.terms.request_id;
  query.prompt_tokens = attempt.prompt_tokens;
  query.max_tokens = request.left();
  query.profile = attempt.chosen().profile;
  query.profile_digest = attempt.chosen().profile_digest;
  query.sampling = request.terms.sampling;
  query.run_type = attempt.run_type;
  query.first_token_index = request.answered();
  query.wait = attempt.waits ? PagesWait(now, request) : absl::ZeroDuration();
  const absl::Duration limit = query.wait + limits_.reserve;
  SetStepDeadline(request, now + limit);
  attempt.reserve_open = true;
  world_.SendReserve(attempt.id, attempt.decode, query, limit);
}

void Router::Reserved(absl::Time now, AttemptId id, const std::string& decode, absl::StatusOr<ReserveAnswer> answer) {
  Request* request = Find(id);
  if (request == nullptr || request->stage != Stage::kReserving) {
    const bool repeated = request != nullptr && answer.ok() && request->attempt.ticket == answer->ticket;
    if (answer.ok() && !repeated) world_.ReleaseTicket(decode, answer->ticket);
    return;
  }
  request->attempt.reserve_open = false;
  if (!answer.ok()) {
    ReserveRefused(now, *request, answer.status());
  } else if (!registry_.Contains(request->attempt.prefill)) {
    world_.ReleaseTicket(decode, answer->ticket);
    ReserveNext(now, *request);
  } else {
    Pour(now, *request, *answer);
  }
  Dispatch(now);
}

void Router::ReserveRefused(absl::Time now, Request& request, const absl::Status& status) {
  Attempt& attempt = request.attempt;
  attempt.refused.insert(attempt.decode);
  if (status.code() == absl::StatusCode::kResourceExhausted) {
    attempt.without_pages.insert(attempt.decode);
    attempt.failure = status;
  } else {
    request.strikes[attempt.decode] += kBlamed;
    attempt.without_pages.erase(attempt.decode);
    if (attempt.without_pages.empty()) attempt.failure = status;
  }
  request.AddHop("reserve", attempt.step_began, now);
  ReserveNext(now, request);
}

void Router::Pour(absl::Time now, Request& request, const ReserveAnswer& answer) {
  Attempt& attempt = request.attempt;
  request.AddHop("reserve", attempt.step_began, now);
  attempt.step_began = now;
  attempt.ticket = answer.ticket;
  attempt.profile_digest = answer.profile_digest;
  request.stage = Stage::kPouring;
  Hold(request);
  SetStepDeadline(request, absl::InfiniteFuture());
  request.ExplainAttempt();
  if (!std::exchange(request.started, true)) {
    world_.EmitStarted(request.number, StartedNotice{request.terms.request_id, request.prompt_tokens,
                                                     attempt.chosen().profile, attempt.chosen().reason});
  }
  world_.NoteChosen(attempt.chosen().profile);

  PrefillOrder order;
  order.request_id = request.terms.request_id;
  order.tenant = request.terms.tenant;
  order.tokens = request.tokens;
  order.sampling = request.terms.sampling;
  order.position_of_first_token = attempt.prompt_tokens;
  order.profile = attempt.chosen().profile;
  order.profile_digest = attempt.profile_digest;
  order.decode = attempt.decode;
  order.ticket = attempt.ticket;
  order.run_type = attempt.run_type;
  order.use_pool = attempt.by_pool;
  order.floor = request.terms.fidelity_floor;
  order.lease = attempt.lease;
  const auto reused = static_cast<size_t>(std::max(0, attempt.chosen().reused_tokens) / limits_.chunk_tokens);
  order.prefix = absl::MakeConstSpan(attempt.prefix).subspan(0, std::min(reused, attempt.prefix.size()));
  order.publish = attempt.by_pool && request.terms.publish;
  order.chunk_keys = attempt.chunk_keys;
  order.chunk_tokens = limits_.chunk_tokens;

  const absl::Duration limit = request.deadline - now;
  attempt.tokens_open = true;
  attempt.prefill_open = true;
  attempt.prefill_placed = true;
  registry_.PlaceSequence(attempt.decode);
  registry_.PlacePrefill(attempt.prefill, attempt.prompt_tokens);
  world_.OpenTokens(attempt.id, attempt.decode, attempt.ticket, limit);
  world_.SendPrefill(attempt.id, attempt.prefill, order, limit);
}

void Router::Prefilled(absl::Time now, AttemptId id, absl::StatusOr<PrefillAnswer> answer) {
  Request* request = Find(id);
  if (request == nullptr || !request->attempt.prefill_open) return;
  Attempt& attempt = request->attempt;
  attempt.prefill_open = false;
  request->AddHop("prefill", attempt.step_began, now);
  ClosePrefill(*request);
  if (answer.ok()) {
    request->TakeNumbers(*answer);
    admission_.Served(attempt.prompt_tokens, absl::ToDoubleMilliseconds(now - request->taken_at));
  }
  if (request->stage == Stage::kClosing) {
    if (request->client_waits) EmitFinish(*request);
    End(*request);
  } else if (answer.ok() || attempt.flowing) {
    // A failure after the commit, when tokens flow, costs only numbers.
    request->stage = Stage::kStreaming;
  } else {
    const absl::Status& status = answer.status();
    const bool full = status.code() == absl::StatusCode::kResourceExhausted;
    request->strikes[attempt.prefill] += full ? kBlamed : kSuspected;
    if (!full) request->strikes[attempt.decode] += kSuspected;
    FailAttempt(
        now, *request, "prefill",
        absl::Status(status.code(), absl::StrCat("prefill worker ", attempt.prefill, " failed: ", status.message())));
  }
  Dispatch(now);
}

void Router::FailAttempt(absl::Time now, Request& request, absl::string_view cause, const absl::Status& status) {
  CloseAttempt(request);
  if (request.left() == 0) {
    Complete(now, request, "length");
    return;
  }
  if (request.ended_itself) {
    Complete(now, request, "stop");
    return;
  }
  if (status.code() == absl::StatusCode::kInvalidArgument) {
    EndWithError(request, status, "failed");
    return;
  }
  if (request.replans >= limits_.most_replans) {
    EndWithError(request, GaveUp(request, status), "failed");
    return;
  }
  ++request.replans;
  request.explanation.replans = request.replans;
  request.last_failure = status;
  world_.NoteReplanned(cause);
  request.stage = Stage::kQueued;
  request.queued_at = now;
  SetStepDeadline(request, absl::InfiniteFuture());
  queue_.push_front(request.number);
}

void Router::CloseAttempt(Request& request) {
  Attempt& attempt = request.attempt;
  if (attempt.id == 0) return;
  CancelReserve(request);
  if (attempt.prefill_open) world_.CancelPrefill(attempt.id);
  CloseDecode(request);
  ClosePrefill(request);
  attempts_.erase(std::exchange(attempt.id, 0));
}

void Router::CancelReserve(Request& request) {
  if (std::exchange(request.attempt.reserve_open, false)) world_.CancelReserve(request.attempt.id);
}

// Prefill is done with its place and with the frames it was leased.
void Router::ClosePrefill(Request& request) {
  Attempt& attempt = request.attempt;
  attempt.prefill_open = false;
  if (std::exchange(attempt.prefill_placed, false)) {
    registry_.TakePrefill(attempt.prefill, attempt.prompt_tokens);
  }
  GiveLeaseBack(request);
  LetGo(request);
}

void Router::GiveLeaseBack(Request& request) {
  const uint64_t lease = std::exchange(request.attempt.lease, 0);
  if (lease == 0) return;
  leases_.erase(lease);
  world_.ReleaseLease(lease);
}

void Router::CloseDecode(Request& request) {
  Attempt& attempt = request.attempt;
  if (std::exchange(attempt.tokens_open, false)) {
    world_.CancelTokens(attempt.id);
    registry_.TakeSequence(attempt.decode);
  }
  if (attempt.ticket != 0) world_.ReleaseTicket(attempt.decode, std::exchange(attempt.ticket, 0));
}

}  // namespace decant
