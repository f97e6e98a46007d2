// The router's core with a world that only writes down what it is told, and verbs to answer for pool and workers.
#ifndef DECANT_TESTS_SERVICES_ROUTER_ROUTER_RIG_H_
#define DECANT_TESTS_SERVICES_ROUTER_ROUTER_RIG_H_

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "services/router/router.h"
#include "tests/services/router/letter_tokenizer.h"

namespace decant {

// Everything one client was told.
struct Heard {
  std::optional<StartedNotice> started;
  std::vector<PieceNotice> pieces;
  std::optional<FinishedNotice> finished;
  std::optional<absl::Status> error;

  std::string text() const {
    std::string all;
    for (const PieceNotice& piece : pieces) all += piece.text;
    return all;
  }
  std::vector<int32_t> tokens() const {
    std::vector<int32_t> all;
    for (const PieceNotice& piece : pieces) all.insert(all.end(), piece.tokens.begin(), piece.tokens.end());
    return all;
  }
};

class NotingWorld final : public RouterWorld {
 public:
  struct Plan {
    AttemptId attempt;
    PlanQuery query;
  };
  struct Reserve {
    AttemptId attempt;
    std::string decode;
    ReserveQuery query;
  };
  struct Prefill {
    AttemptId attempt;
    std::string prefill;
    PrefillOrder order;  // its spans are dead
    std::vector<int32_t> tokens;
    std::vector<PlannedPart> prefix;
  };

  void SendPlan(AttemptId attempt, const PlanQuery& query, absl::Duration) override {
    plans.push_back({attempt, query});
  }
  void SendReserve(AttemptId attempt, const std::string& decode, const ReserveQuery& query, absl::Duration) override {
    reserves.push_back({attempt, decode, query});
  }
  void SendPrefill(AttemptId attempt, const std::string& prefill, const PrefillOrder& order, absl::Duration) override {
    prefills.push_back({attempt, prefill, order, std::vector<int32_t>(order.tokens.begin(), order.tokens.end()),
                        std::vector<PlannedPart>(order.prefix.begin(), order.prefix.end())});
  }
  void OpenTokens(AttemptId attempt, const std::string& decode, uint64_t ticket, absl::Duration) override {
    said.push_back(absl::StrCat("tokens ", decode, " ", ticket));
    token_attempts.push_back(attempt);
  }
  void CancelReserve(AttemptId) override { said.push_back("cancel reserve"); }
  void CancelPrefill(AttemptId) override { said.push_back("cancel prefill"); }
  void CancelTokens(AttemptId) override { said.push_back("cancel tokens"); }
  void ReleaseTicket(const std::string& decode, uint64_t ticket) override {
    said.push_back(absl::StrCat("release ticket ", decode, " ", ticket));
  }
  void ReleaseLease(uint64_t lease) override { said.push_back(absl::StrCat("release lease ", lease)); }
  void SendReport(const ReportFacts& facts) override { reports.push_back(facts); }
  void EmitStarted(RequestNumber r, const StartedNotice& notice) override { heard[r].started = notice; }
  void EmitPiece(RequestNumber r, const PieceNotice& notice) override { heard[r].pieces.push_back(notice); }
  void EmitFinished(RequestNumber r, const FinishedNotice& notice) override {
    heard[r].finished = notice;
    ++ends;
  }
  void EmitError(RequestNumber r, const absl::Status& status) override {
    heard[r].error = status;
    ++ends;
  }
  void NoteChosen(absl::string_view) override {}
  void NoteReplanned(absl::string_view cause) override { said.push_back(absl::StrCat("replanned ", cause)); }
  void NotePlannedWithoutPool() override { ++plans_without_pool; }
  void NoteEnded(const RequestOutcome& outcome) override { outcomes.emplace_back(outcome.outcome); }

  int Count(absl::string_view what) const {
    return static_cast<int>(std::count(said.begin(), said.end(), std::string(what)));
  }

  std::vector<Plan> plans;
  std::vector<Reserve> reserves;
  std::vector<Prefill> prefills;
  std::vector<AttemptId> token_attempts;
  std::vector<ReportFacts> reports;
  std::vector<std::string> said;
  std::vector<std::string> outcomes;
  std::map<RequestNumber, Heard> heard;
  int ends = 0;
  int plans_without_pool = 0;
};

inline RouterModel LetterModel() {
  static const LetterTokenizer& tokenizer = *new LetterTokenizer;
  RouterModel model;
  model.name = "letters";
  model.fingerprint = Sha256("letters model");
  model.geometry = Geometry{2, 4, 2, 32};
  model.max_positions = 100;
  model.vocabulary = LetterTokenizer::kVocabulary;
  model.end_tokens = {LetterTokenizer::kEnd};
  model.tokenizer = &tokenizer;
  model.profiles = {"diffkv", "full", "k4v2", "k8v4"};
  return model;
}

inline WorkerFacts Worker(const std::string& address, WorkerFacts::Kind kind) {
  const RouterModel model = LetterModel();
  WorkerFacts facts;
  facts.address = address;
  facts.kind = kind;
  facts.model_name = model.name;
  facts.fingerprint = model.fingerprint;
  facts.geometry = model.geometry;
  facts.max_positions = model.max_positions;
  facts.links = {LinkKind::kGrpc};
  facts.host = "here";
  facts.frame_version = 1;
  return facts;
}

class RouterRig {
 public:
  // Workers p1 and d1 are there from the start.
  explicit RouterRig(RouterLimits limits = SmallLimits()) : router(LetterModel(), limits, world) {
    AddPrefill("p1");
    AddDecode("d1");
  }
  static RouterLimits SmallLimits() {
    RouterLimits limits;
    limits.chunk_tokens = 4;
    return limits;
  }

  void AddPrefill(const std::string& address) { Add(Worker(address, WorkerFacts::Kind::kPrefill)); }
  void AddDecode(const std::string& address) { Add(Worker(address, WorkerFacts::Kind::kDecode)); }
  void Add(const WorkerFacts& facts) { DECANT_CHECK(router.WorkerRegistered(now, facts).ok()); }
  void Lose(const std::string& address) { router.WorkerLost(now, address, absl::UnavailableError("it was killed")); }

  // A prompt of letters; returns the request's number.
  RequestNumber Ask(const std::string& prompt, RequestTerms terms = {}) {
    PreparedRequest request;
    request.prompt = LetterTokenizer::Ids(prompt);
    request.terms = std::move(terms);
    if (request.terms.max_tokens == 0) request.terms.max_tokens = 8;
    router.Generate(now, ++last, std::move(request));
    return last;
  }
  RequestNumber AskUntilPoured(const std::string& prompt, RequestTerms terms = {}) {
    const RequestNumber number = Ask(prompt, std::move(terms));
    PlanOk();
    Grant();
    return number;
  }

  // ---- the pool answers the last Plan.
  PlanAnswer DefaultPlan() const {
    PlanAnswer answer;
    const auto& candidates = world.plans.back().query.candidates;
    for (size_t i = 0; i < candidates.size(); ++i) {
      PairPlan& plan = answer.plans.emplace_back();
      plan.candidate = static_cast<int32_t>(i);
      plan.profile = "k8v4";
      plan.profile_digest = Sha256("the pool's k8v4");
      plan.reason = "cheapest";
      plan.quality = 0.9;
      plan.predicted_ttft_ms = 12;
      plan.alternatives.push_back({"k8v4", 12, 0.9, false, "chosen"});
    }
    // By name, so that tests can say which of equal pairs is taken.
    const auto name = [&](const PairPlan& plan) {
      const PairCandidate& pair = candidates[static_cast<size_t>(plan.candidate)];
      return std::make_pair(pair.prefill, pair.decode);
    };
    std::sort(answer.plans.begin(), answer.plans.end(),
              [&](const PairPlan& a, const PairPlan& b) { return name(a) < name(b); });
    answer.lease = ++leases;
    answer.miss_reason = "nothing stored";
    return answer;
  }
  void PlanOk() { Plan(DefaultPlan()); }
  void Plan(absl::StatusOr<PlanAnswer> answer) { router.Planned(now, world.plans.back().attempt, std::move(answer)); }

  // ---- decode answers the last Reserve.
  void Grant() { Reserve(ReserveAnswer{++tickets, 10, Sha256("decode's k8v4")}); }
  void NoPages() { Reserve(absl::ResourceExhaustedError("0 of 10 pages are free")); }
  void Reserve(const absl::StatusOr<ReserveAnswer>& answer) {
    const auto sent = world.reserves.back();
    router.Reserved(now, sent.attempt, sent.decode, answer);
  }

  // ---- the last Prefill and its token stream.
  static PrefillAnswer DefaultNumbers() {
    PrefillAnswer answer;
    answer.tokens_computed = 6;
    answer.kv.wire = 1000;
    answer.tiers.high = 60;
    answer.tiers.low = 30;
    answer.tiers.pruned = 10;
    answer.prefix_miss_reason = "nothing stored";
    return answer;
  }
  void PrefillOk() { Prefilled(DefaultNumbers()); }
  void Prefilled(const absl::StatusOr<PrefillAnswer>& answer) {
    router.Prefilled(now, world.prefills.back().attempt, answer);
  }
  void Say(int64_t index, const std::string& letters) { Say(index, LetterTokenizer::Ids(letters)); }
  void Say(int64_t index, std::vector<int32_t> tokens) {
    TokenBatch batch;
    batch.index = index;
    batch.tokens = std::move(tokens);
    router.Tokens(now, world.token_attempts.back(), batch);
  }
  void SayLast(int64_t index, const std::string& letters, const std::string& reason = "length") {
    TokenBatch batch;
    batch.index = index;
    batch.tokens = LetterTokenizer::Ids(letters);
    batch.last = true;
    batch.finish_reason = reason;
    batch.kv.full = 4000;
    batch.kv.resident = 2000;
    batch.tiers.high = 61;
    batch.tiers.low = 29;
    batch.tiers.demoted = 3;
    router.Tokens(now, world.token_attempts.back(), batch);
    router.TokensEnded(now, world.token_attempts.back(), absl::OkStatus());
  }
  void BreakTokens(const std::string& why = "connection reset") {
    router.TokensEnded(now, world.token_attempts.back(), absl::UnavailableError(why));
  }

  // Time passes; workers go on saying that they live.
  void Pass(absl::Duration time) {
    for (absl::Duration done; done < time; done += absl::Milliseconds(50)) {
      now += absl::Milliseconds(50);
      for (const char* address : {"p1", "p2", "d1", "d2"}) router.LoadReported(now, address, WorkerLoad{});
      router.Tick(now);
    }
  }

  const Heard& Of(RequestNumber number) { return world.heard[number]; }
  absl::StatusCode ErrorOf(RequestNumber number) { return Of(number).error.value_or(absl::OkStatus()).code(); }
  std::string MessageOf(RequestNumber number) {
    return std::string(Of(number).error.value_or(absl::OkStatus()).message());
  }

  absl::Time now = absl::UnixEpoch() + absl::Hours(1);
  NotingWorld world;
  Router router;
  RequestNumber last = 0;
  mutable uint64_t leases = 0;
  uint64_t tickets = 100;
};

}  // namespace decant

#endif  // DECANT_TESTS_SERVICES_ROUTER_ROUTER_RIG_H_
