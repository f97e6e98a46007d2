// A small world in virtual time for the router's core: a pool, prefill and decode workers, a network that delays,
// reorders, repeats and loses messages, and workers that die and come back. Everything follows from one seed.
#ifndef DECANT_TESTS_SIM_ROUTER_SIM_H_
#define DECANT_TESTS_SIM_ROUTER_SIM_H_

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/random.h"
#include "services/router/router.h"
#include "tests/services/router/letter_tokenizer.h"

namespace decant {

struct SimFaults {
  double lose = 0;           // a call's question or answer, or a stream
  double repeat = 0;         // an answer or a batch of tokens
  double late_pool = 0;      // a plan that takes longer than the router waits
  double kill_every_s = 0;   // mean time between deaths of workers; 0 = none
  bool spare_first = false;  // p1 and d1 never die
  double cancel = 0;         // clients that go away
  double pool_down = 0;      // plans answered with UNAVAILABLE
  int32_t tickets = 100;     // that a decode worker has room for
};

// The token that follows a context: what every worker computes, and what the client must get.
inline int32_t NextToken(const std::vector<int32_t>& context) {
  uint64_t hash = context.size();
  for (const int32_t token : context) hash = MixBits(hash, static_cast<uint64_t>(token));
  return static_cast<int32_t>(hash % 900);
}

class RouterSim final : public RouterWorld {
 public:
  struct Client {
    std::vector<int32_t> prompt;
    std::vector<int32_t> expected;
    std::vector<int32_t> got;
    bool started = false;
    int ends = 0;
    bool cancelled = false;
    std::optional<absl::Status> error;
    absl::Time asked;
    absl::Time ended;
  };

  RouterSim(uint64_t seed, const SimFaults& faults) : seed_(seed), faults_(faults), router_(Model(), Limits(), *this) {
    for (const char* address : {"p1", "p2"}) workers_[address].facts = Facts(address, WorkerFacts::Kind::kPrefill);
    for (const char* address : {"d1", "d2"}) workers_[address].facts = Facts(address, WorkerFacts::Kind::kDecode);
    for (auto& [address, worker] : workers_) Join(address);
    if (faults_.kill_every_s > 0) ScheduleKill();
  }

  static RouterLimits Limits() {
    RouterLimits limits;
    limits.chunk_tokens = 4;
    limits.most_running = 32;
    limits.request = absl::Seconds(60);
    limits.reserve_wait = absl::Seconds(3);
    return limits;
  }

  // Clients ask at random times in the first `seconds`; then the world runs until nothing is left to happen.
  void Run(int clients, double seconds) {
    for (int i = 0; i < clients; ++i) {
      const auto number = static_cast<RequestNumber>(i + 1);
      At(now_ + absl::Seconds(seconds * Random()), [this, number] { Ask(number); });
    }
    faults_end_ = now_ + absl::Seconds(seconds) + absl::Seconds(5);
    const absl::Time end = now_ + absl::Seconds(seconds) + absl::Seconds(120);
    while (now_ < end) {
      const absl::Time next = events_.empty() ? end : events_.begin()->first.first;
      const absl::Time due = std::min({next, router_.NextDeadline(), end});
      now_ = std::max(now_, due);
      if (router_.NextDeadline() <= now_) {
        router_.Tick(now_);
      } else if (next <= now_ && !events_.empty()) {
        const auto event = std::move(events_.begin()->second);
        events_.erase(events_.begin());
        event();
      }
      most_running_ = std::max(most_running_, router_.running());
    }
  }

  // ---- what is left when everything is over.
  int tickets_open() const {
    int open = 0;
    for (const auto& [address, worker] : workers_) open += static_cast<int>(worker.tickets.size());
    return open;
  }
  int prefills_open() const {
    int open = 0;
    for (const auto& [address, worker] : workers_) open += static_cast<int>(worker.prefills.size());
    return open;
  }
  int leases_open() const { return static_cast<int>(leases_.size()); }
  int running() const { return router_.running(); }
  int most_running() const { return most_running_; }
  int expired() const { return expired_; }  // tickets and leases that nobody gave back
  int replans() const { return replans_; }
  const std::map<RequestNumber, Client>& clients() const { return clients_; }
  uint64_t digest() const { return digest_; }  // of everything clients were told, and when

  // ---- RouterWorld.
  void SendPlan(AttemptId attempt, const PlanQuery& query, absl::Duration limit) override;
  void SendReserve(AttemptId attempt, const std::string& decode, const ReserveQuery& query,
                   absl::Duration limit) override;
  void SendPrefill(AttemptId attempt, const std::string& prefill, const PrefillOrder& order,
                   absl::Duration limit) override;
  void OpenTokens(AttemptId attempt, const std::string& decode, uint64_t ticket, absl::Duration limit) override;
  void CancelReserve(AttemptId) override {}  // the answer comes all the same
  void CancelPrefill(AttemptId attempt) override;
  void CancelTokens(AttemptId attempt) override;
  void ReleaseTicket(const std::string& decode, uint64_t ticket) override {
    if (!Loses()) Later([this, decode, ticket] { workers_[decode].tickets.erase(ticket); });
  }
  void ReleaseLease(uint64_t lease) override {
    if (!Loses()) Later([this, lease] { leases_.erase(lease); });
  }
  void SendReport(const ReportFacts&) override {}
  void EmitStarted(RequestNumber request, const StartedNotice&) override {
    DECANT_CHECK(!std::exchange(clients_.at(request).started, true));
    Note(request, 1);
  }
  void EmitPiece(RequestNumber request, const PieceNotice& notice) override {
    Client& client = clients_.at(request);
    DECANT_CHECK(client.ends == 0 && client.started);
    DECANT_CHECK(notice.index == static_cast<int64_t>(client.got.size()));
    client.got.insert(client.got.end(), notice.tokens.begin(), notice.tokens.end());
    for (const int32_t token : notice.tokens) Note(request, static_cast<uint64_t>(token));
  }
  void EmitFinished(RequestNumber request, const FinishedNotice&) override { End(request, std::nullopt); }
  void EmitError(RequestNumber request, const absl::Status& status) override { End(request, status); }
  void NoteChosen(absl::string_view) override {}
  void NoteReplanned(absl::string_view) override { ++replans_; }
  void NoteEnded(const RequestOutcome&) override {}

 private:
  struct Ticket {
    AttemptId reader = 0;  // 0 = none yet
    bool committed = false;
    std::vector<int32_t> context;  // prompt, then what was generated
    size_t prompt = 0;
    int64_t first_index = 0;
    int32_t left = 0;
    int64_t sent = 0;  // of the generated tokens
  };
  struct SimWorker {
    WorkerFacts facts;
    bool alive = false;
    uint64_t life = 0;  // counts deaths: what began in an older life is gone
    std::map<uint64_t, Ticket> tickets;
    std::set<AttemptId> prefills;
    std::map<AttemptId, uint64_t> readers;  // attempt -> ticket
  };

  static RouterModel Model() {
    static const LetterTokenizer& tokenizer = *new LetterTokenizer;
    RouterModel model;
    model.name = "letters";
    model.fingerprint = Sha256("sim");
    model.geometry = Geometry{2, 4, 2, 32};
    model.max_positions = 1000;
    model.vocabulary = LetterTokenizer::kVocabulary;
    model.tokenizer = &tokenizer;
    model.profiles = {"full", "k8v4"};
    return model;
  }
  static WorkerFacts Facts(const std::string& address, WorkerFacts::Kind kind) {
    WorkerFacts facts;
    facts.address = address;
    facts.kind = kind;
    facts.fingerprint = Model().fingerprint;
    facts.geometry = Model().geometry;
    return facts;
  }

  double Random() { return static_cast<double>(MixBits(seed_, ++drawn_) >> 11) * 0x1p-53; }
  bool Chance(double p) { return now_ < faults_end_ && p > 0 && Random() < p; }
  bool Loses() { return Chance(faults_.lose); }
  absl::Duration Delay() { return absl::Milliseconds(1) + absl::Milliseconds(40 * Random() * Random()); }
  void At(absl::Time at, std::function<void()> event) { events_[{at, ++sequence_}] = std::move(event); }
  void Later(std::function<void()> event) { At(now_ + Delay(), std::move(event)); }
  // An answer to the router, perhaps twice.
  void Answer(const std::function<void()>& event) {
    Later(event);
    if (Chance(faults_.repeat)) Later(event);
  }
  // A message of the token stream of `attempt`; these keep their order.
  void InOrder(AttemptId attempt, std::function<void()> event) {
    absl::Time& last = stream_time_[attempt];
    last = std::max(last, now_ + Delay());
    At(last, std::move(event));
  }
  void Note(RequestNumber request, uint64_t what) {
    digest_ = MixBits(digest_ ^ what, request * 1000003 + static_cast<uint64_t>(absl::ToUnixNanos(now_)));
  }

  void Ask(RequestNumber number);
  void End(RequestNumber request, std::optional<absl::Status> error);
  void Join(const std::string& address);
  void ReportLoad(const std::string& address, uint64_t life);
  void ScheduleKill();
  void Kill(const std::string& address);
  // A call to a worker: `serve` runs there unless it is dead; `fail` runs when the question or the answer is lost.
  void CallWorker(const std::string& address, absl::Duration limit, std::function<void(SimWorker&)> serve,
                  const std::function<void(absl::Status)>& fail);
  void TryGrant(AttemptId attempt, const std::string& decode, const ReserveQuery& query, absl::Time until);
  void FinishPrefill(AttemptId attempt, const std::string& prefill, const std::vector<int32_t>& tokens,
                     const std::string& decode, uint64_t ticket);
  void Step(const std::string& decode, uint64_t life, uint64_t ticket);
  void SendTokens(const std::string& decode, uint64_t ticket);
  void BreakReader(const std::string& decode, AttemptId attempt);

  const uint64_t seed_;
  const SimFaults faults_;
  uint64_t drawn_ = 0;
  uint64_t sequence_ = 0;
  uint64_t digest_ = 0;
  absl::Time now_ = absl::UnixEpoch() + absl::Hours(1);
  absl::Time faults_end_ = absl::InfiniteFuture();
  std::map<std::pair<absl::Time, uint64_t>, std::function<void()>> events_;
  std::map<std::string, SimWorker> workers_;
  std::map<AttemptId, absl::Time> stream_time_;  // when the last message of a stream arrives
  std::set<AttemptId> cancelled_prefills_;
  std::set<AttemptId> cancelled_tokens_;
  std::set<uint64_t> leases_;
  uint64_t handed_out_ = 0;  // tickets and leases
  int expired_ = 0;
  int replans_ = 0;
  int most_running_ = 0;
  std::map<RequestNumber, Client> clients_;
  Router router_;
};

}  // namespace decant

#endif  // DECANT_TESTS_SIM_ROUTER_SIM_H_
