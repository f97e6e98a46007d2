// The router's core under 200 seeds of reordered, lost, late and repeated messages and of workers that die and rejoin.
#include <gtest/gtest.h>

#include "tests/sim/router_sim.h"

namespace decant {

void RouterSim::Ask(RequestNumber number) {
  Client& client = clients_[number];
  client.asked = now_;
  const int prompt = 1 + static_cast<int>(30 * Random());
  const int answer = 1 + static_cast<int>(24 * Random());
  for (int i = 0; i < prompt; ++i) client.prompt.push_back(static_cast<int32_t>(900 * Random()));
  std::vector<int32_t> context = client.prompt;
  for (int i = 0; i < answer; ++i) {
    client.expected.push_back(NextToken(context));
    context.push_back(client.expected.back());
  }
  PreparedRequest request;
  request.prompt = client.prompt;
  request.terms.max_tokens = answer;
  router_.Generate(now_, number, std::move(request));
  if (Chance(faults_.cancel)) {
    At(now_ + absl::Milliseconds(600 * Random()), [this, number] {
      if (clients_.at(number).ends > 0) return;
      clients_.at(number).cancelled = true;
      router_.ClientGone(now_, number, absl::CancelledError("the client is gone"));
    });
  }
}

void RouterSim::End(RequestNumber request, std::optional<absl::Status> error) {
  Client& client = clients_.at(request);
  ++client.ends;
  client.error = std::move(error);
  client.ended = now_;
  Note(request, client.error.has_value() ? 3 : 2);
}

void RouterSim::Join(const std::string& address) {
  SimWorker& worker = workers_[address];
  worker.alive = true;
  DECANT_CHECK(router_.WorkerRegistered(now_, worker.facts).ok());
  ReportLoad(address, worker.life);
}

void RouterSim::ReportLoad(const std::string& address, uint64_t life) {
  if (workers_[address].life != life) return;
  if (!Loses()) {
    const auto running = static_cast<int32_t>(workers_[address].tickets.size());
    Later([this, address, running] {
      WorkerLoad load;
      load.running = running;
      router_.LoadReported(now_, address, load);
    });
  }
  At(now_ + absl::Seconds(1), [this, address, life] { ReportLoad(address, life); });
}

void RouterSim::ScheduleKill() {
  At(now_ + absl::Seconds(2 * faults_.kill_every_s * Random()), [this] {
    if (now_ >= faults_end_) return;
    auto victim = workers_.begin();
    std::advance(victim, static_cast<int>(4 * Random()));
    const bool spared = faults_.spare_first && (victim->first == "p1" || victim->first == "d1");
    if (victim->second.alive && !spared) Kill(victim->first);
    ScheduleKill();
  });
}

void RouterSim::Kill(const std::string& address) {
  SimWorker& worker = workers_[address];
  worker.alive = false;
  ++worker.life;
  worker.tickets.clear();
  const auto prefills = std::exchange(worker.prefills, {});
  const auto readers = std::exchange(worker.readers, {});
  for (const auto& [attempt, ticket] : readers) BreakReader(address, attempt);
  for (const AttemptId attempt : prefills) {
    Later([this, attempt = attempt] { router_.Prefilled(now_, attempt, absl::UnavailableError("connection reset")); });
  }
  // Its watch breaks sooner or later, and it comes back sooner or later: in either order.
  if (!Chance(0.3)) {
    At(now_ + absl::Milliseconds(300 * Random()),
       [this, address] { router_.WorkerLost(now_, address, absl::UnavailableError("the watch broke")); });
  }
  At(now_ + absl::Milliseconds(200) + absl::Seconds(8 * Random()), [this, address] {
    router_.WorkerLost(now_, address, absl::UnavailableError("it registered anew"));
    Join(address);
  });
}

void RouterSim::SendPlan(AttemptId attempt, const PlanQuery& query, absl::Duration limit) {
  if (Loses()) {
    At(now_ + limit, [this, attempt] { router_.Planned(now_, attempt, absl::DeadlineExceededError("no answer")); });
    return;
  }
  if (Chance(faults_.pool_down)) {
    Answer([this, attempt] { router_.Planned(now_, attempt, absl::UnavailableError("connection refused")); });
    return;
  }
  const absl::Duration late = Chance(faults_.late_pool) ? limit : absl::ZeroDuration();
  At(now_ + Delay() + late, [this, attempt, query] {
    PlanAnswer answer;
    for (size_t i = 0; i < query.candidates.size(); ++i) {
      PairPlan& plan = answer.plans.emplace_back();
      plan.candidate = static_cast<int32_t>(i);
      plan.profile = "k8v4";
    }
    std::rotate(answer.plans.begin(),
                answer.plans.begin() + static_cast<int>(static_cast<double>(answer.plans.size()) * Random()),
                answer.plans.end());
    answer.lease = ++handed_out_;
    leases_.insert(answer.lease);
    At(now_ + absl::Seconds(90), [this, lease = answer.lease] { expired_ += static_cast<int>(leases_.erase(lease)); });
    if (Loses()) return;  // the router's own deadline will pass
    Answer([this, attempt, answer] { router_.Planned(now_, attempt, answer); });
  });
}

void RouterSim::CallWorker(const std::string& address, absl::Duration limit, std::function<void(SimWorker&)> serve,
                           const std::function<void(absl::Status)>& fail) {
  if (Loses()) {
    // The connection is found to be dead, or the caller gives up before that.
    At(now_ + std::min(limit, absl::Seconds(2 * Random())), [fail] { fail(absl::UnavailableError("keepalive")); });
    return;
  }
  Later([this, address, limit, serve = std::move(serve), fail] {
    SimWorker& worker = workers_[address];
    if (worker.alive) {
      serve(worker);
    } else if (Chance(0.5)) {
      At(now_ + limit, [fail] { fail(absl::DeadlineExceededError("no answer")); });
    } else {
      Later([fail] { fail(absl::UnavailableError("connection refused")); });
    }
  });
}

void RouterSim::SendReserve(AttemptId attempt, const std::string& decode, const ReserveQuery& query,
                            absl::Duration limit) {
  CallWorker(
      decode, limit,
      [this, attempt, decode, query](SimWorker&) { TryGrant(attempt, decode, query, now_ + query.wait); },
      [this, attempt, decode](const absl::Status& status) { router_.Reserved(now_, attempt, decode, status); });
}

void RouterSim::TryGrant(AttemptId attempt, const std::string& decode, const ReserveQuery& query, absl::Time until) {
  SimWorker& worker = workers_[decode];
  const auto answer = [&](absl::StatusOr<ReserveAnswer> what) {
    if (Loses()) return;  // the router's own deadline will pass
    Answer([this, attempt, decode, what = std::move(what)] { router_.Reserved(now_, attempt, decode, what); });
  };
  if (!worker.alive) return;
  if (static_cast<int32_t>(worker.tickets.size()) >= faults_.tickets) {
    if (now_ >= until) {
      answer(absl::ResourceExhaustedError("no pages"));
    } else {
      At(now_ + absl::Milliseconds(50), [=, this] { TryGrant(attempt, decode, query, until); });
    }
    return;
  }
  const uint64_t id = ++handed_out_;
  Ticket& ticket = worker.tickets[id];
  ticket.first_index = query.first_token_index;
  ticket.prompt = static_cast<size_t>(query.prompt_tokens);
  ticket.left = query.max_tokens;
  At(now_ + absl::Seconds(5), [this, decode, id, life = worker.life] {
    SimWorker& same = workers_[decode];
    const auto it = same.tickets.find(id);
    if (same.life != life || it == same.tickets.end()) return;
    if (it->second.committed && it->second.reader != 0) return;
    ++expired_;
    if (it->second.reader != 0) BreakReader(decode, it->second.reader);
    same.tickets.erase(id);
  });
  answer(ReserveAnswer{id, 1, Digest()});
}

void RouterSim::SendPrefill(AttemptId attempt, const std::string& prefill, const PrefillOrder& order,
                            absl::Duration limit) {
  const std::vector<int32_t> tokens(order.tokens.begin(), order.tokens.end());
  CallWorker(
      prefill, limit,
      [this, attempt, prefill, tokens, decode = order.decode, ticket = order.ticket](SimWorker& worker) {
        if (cancelled_prefills_.contains(attempt)) return;
        worker.prefills.insert(attempt);
        At(now_ + absl::Milliseconds(20 + 200 * Random()), [this, attempt, prefill, tokens, decode, ticket] {
          FinishPrefill(attempt, prefill, tokens, decode, ticket);
        });
      },
      [this, attempt](const absl::Status& status) { router_.Prefilled(now_, attempt, status); });
}

void RouterSim::FinishPrefill(AttemptId attempt, const std::string& prefill, const std::vector<int32_t>& tokens,
                              const std::string& decode, uint64_t id) {
  if (workers_[prefill].prefills.erase(attempt) == 0) return;  // cancelled or dead
  SimWorker& worker = workers_[decode];
  const auto it = worker.tickets.find(id);
  if (!worker.alive || it == worker.tickets.end() || Loses()) {
    Answer([this, attempt] { router_.Prefilled(now_, attempt, absl::UnavailableError("the transfer broke")); });
    return;
  }
  it->second.committed = true;
  it->second.context = tokens;
  Step(decode, worker.life, id);
  if (Loses()) return;
  Answer([this, attempt, computed = tokens.size()] {
    PrefillAnswer answer;
    answer.tokens_computed = static_cast<int32_t>(computed);
    router_.Prefilled(now_, attempt, answer);
  });
}

// Generates up to three tokens, sends them, and goes on until all are there.
void RouterSim::Step(const std::string& decode, uint64_t life, uint64_t id) {
  SimWorker& worker = workers_[decode];
  const auto it = worker.tickets.find(id);
  if (worker.life != life || it == worker.tickets.end()) return;
  Ticket& ticket = it->second;
  for (int i = 0; i < 1 + static_cast<int>(3 * Random()) && ticket.left > 0; ++i) {
    ticket.context.push_back(NextToken(ticket.context));
    --ticket.left;
  }
  SendTokens(decode, id);
  if (worker.tickets.contains(id)) At(now_ + absl::Milliseconds(20), [=, this] { Step(decode, life, id); });
}

void RouterSim::SendTokens(const std::string& decode, uint64_t id) {
  SimWorker& worker = workers_[decode];
  Ticket& ticket = worker.tickets.at(id);
  if (ticket.reader == 0) return;
  const AttemptId attempt = ticket.reader;
  if (Chance(faults_.lose / 10)) {  // a stream has many messages
    BreakReader(decode, attempt);
    worker.tickets.erase(id);
    return;
  }
  TokenBatch batch;
  batch.index = ticket.first_index + ticket.sent;
  batch.tokens.assign(ticket.context.begin() + static_cast<int64_t>(ticket.prompt) + ticket.sent, ticket.context.end());
  ticket.sent += static_cast<int64_t>(batch.tokens.size());
  batch.last = ticket.left == 0;
  batch.finish_reason = "length";
  const auto deliver = [this, attempt, batch] { router_.Tokens(now_, attempt, batch); };
  InOrder(attempt, deliver);
  if (Chance(faults_.repeat)) InOrder(attempt, deliver);
  if (!batch.last) return;
  InOrder(attempt, [this, attempt] { router_.TokensEnded(now_, attempt, absl::OkStatus()); });
  worker.readers.erase(attempt);
  worker.tickets.erase(id);
}

void RouterSim::OpenTokens(AttemptId attempt, const std::string& decode, uint64_t id, absl::Duration limit) {
  const auto ended = [this, attempt](const absl::Status& status) {
    InOrder(attempt, [this, attempt, status] { router_.TokensEnded(now_, attempt, status); });
  };
  CallWorker(
      decode, limit,
      [this, attempt, decode, id, ended](SimWorker& worker) {
        const auto it = worker.tickets.find(id);
        if (cancelled_tokens_.contains(attempt)) return;
        if (it == worker.tickets.end()) {
          ended(absl::NotFoundError("no such ticket"));
          return;
        }
        it->second.reader = attempt;
        worker.readers[attempt] = id;
        if (it->second.context.size() > it->second.prompt) SendTokens(decode, id);
      },
      ended);
}

void RouterSim::BreakReader(const std::string& decode, AttemptId attempt) {
  workers_[decode].readers.erase(attempt);
  InOrder(attempt, [this, attempt] { router_.TokensEnded(now_, attempt, absl::UnavailableError("connection reset")); });
}

void RouterSim::CancelPrefill(AttemptId attempt) {
  cancelled_prefills_.insert(attempt);
  Later([this, attempt] {
    for (auto& [address, worker] : workers_) worker.prefills.erase(attempt);
  });
}

void RouterSim::CancelTokens(AttemptId attempt) {
  cancelled_tokens_.insert(attempt);
  Later([this, attempt] {
    for (auto& [address, worker] : workers_) {
      const auto reader = worker.readers.find(attempt);
      if (reader == worker.readers.end()) continue;
      worker.tickets.erase(reader->second);
      worker.readers.erase(reader);
    }
  });
}

namespace {

constexpr uint64_t kSeeds = 200;

bool IsPrefix(const std::vector<int32_t>& part, const std::vector<int32_t>& whole) {
  return part.size() <= whole.size() && std::equal(part.begin(), part.end(), whole.begin());
}

struct Tally {
  int finished = 0;
  int failed = 0;
  int replans = 0;
  std::map<absl::StatusCode, int> codes;
};

// What must hold whatever happens.
void Check(uint64_t seed, const RouterSim& sim, Tally& tally) {
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  EXPECT_EQ(sim.running(), 0);
  EXPECT_EQ(sim.tickets_open(), 0);
  EXPECT_EQ(sim.prefills_open(), 0);
  EXPECT_EQ(sim.leases_open(), 0);
  EXPECT_LE(sim.most_running(), RouterSim::Limits().most_running);
  for (const auto& [number, client] : sim.clients()) {
    EXPECT_EQ(client.ends, 1) << "request " << number;
    EXPECT_LE(client.ended - client.asked, RouterSim::Limits().request);
    if (!client.error.has_value()) {
      EXPECT_EQ(client.got, client.expected) << "request " << number;
      ++tally.finished;
      continue;
    }
    EXPECT_TRUE(IsPrefix(client.got, client.expected)) << "request " << number;
    const absl::StatusCode code = client.error->code();
    EXPECT_TRUE(code == absl::StatusCode::kUnavailable || code == absl::StatusCode::kResourceExhausted ||
                code == absl::StatusCode::kDeadlineExceeded ||
                (code == absl::StatusCode::kCancelled && client.cancelled))
        << *client.error;
    ++tally.failed;
    ++tally.codes[code];
  }
  tally.replans += sim.replans();
}

TEST(RouterSimTest, ACalmWorldFinishesEverythingAndLeavesNothingToExpire) {
  Tally tally;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    RouterSim sim(seed, SimFaults{});
    sim.Run(/*clients=*/20, /*seconds=*/4);
    Check(seed, sim, tally);
    EXPECT_EQ(sim.expired(), 0) << "seed " << seed;
  }
  EXPECT_EQ(tally.finished, 20 * static_cast<int>(kSeeds));
  EXPECT_EQ(tally.replans, 0);
}

TEST(RouterSimTest, RepeatedAndLateMessagesCostNothing) {
  SimFaults faults;
  faults.repeat = 0.3;
  faults.late_pool = 0.2;
  faults.pool_down = 0.2;
  Tally tally;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    RouterSim sim(seed, faults);
    sim.Run(20, 4);
    Check(seed, sim, tally);
    EXPECT_EQ(sim.expired(), 0) << "seed " << seed;
  }
  EXPECT_EQ(tally.finished, 20 * static_cast<int>(kSeeds));
  EXPECT_EQ(tally.replans, 0);
}

TEST(RouterSimTest, DyingAndRejoiningWorkersLoseNoToken) {
  SimFaults faults;
  faults.kill_every_s = 4;
  faults.cancel = 0.1;
  faults.repeat = 0.1;
  Tally tally;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    RouterSim sim(seed, faults);
    sim.Run(30, 10);
    Check(seed, sim, tally);
    EXPECT_EQ(sim.expired(), 0) << "seed " << seed;
  }
  // The faults are real, and most requests survive them.
  EXPECT_GT(tally.replans, static_cast<int>(kSeeds) / 2);
  EXPECT_GT(tally.codes[absl::StatusCode::kUnavailable], 0);
  EXPECT_GT(tally.finished, 4 * tally.failed);
}

TEST(RouterSimTest, OneWorkerOfEachKindIsEnough) {
  SimFaults faults;
  faults.kill_every_s = 0.5;
  faults.spare_first = true;
  Tally tally;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    RouterSim sim(seed, faults);
    sim.Run(30, 10);
    Check(seed, sim, tally);
    EXPECT_EQ(sim.expired(), 0) << "seed " << seed;
  }
  EXPECT_EQ(tally.failed, 0);
  EXPECT_GT(tally.replans, static_cast<int>(kSeeds) / 2);
}

TEST(RouterSimTest, EverythingAtOnce) {
  SimFaults faults;
  faults.lose = 0.03;
  faults.repeat = 0.1;
  faults.late_pool = 0.1;
  faults.kill_every_s = 2;
  faults.cancel = 0.1;
  faults.pool_down = 0.1;
  faults.tickets = 4;
  Tally tally;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    RouterSim sim(seed, faults);
    sim.Run(60, 8);
    Check(seed, sim, tally);
  }
  EXPECT_GT(tally.replans, static_cast<int>(kSeeds));
  EXPECT_GT(tally.finished, 2 * tally.failed);
}

TEST(RouterSimTest, TooManyRequestsAreRefusedAtOnce) {
  SimFaults faults;
  faults.tickets = 1;
  Tally tally;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    RouterSim sim(seed, faults);
    sim.Run(200, 1);
    Check(seed, sim, tally);
    EXPECT_EQ(sim.most_running(), RouterSim::Limits().most_running);
  }
  EXPECT_GT(tally.codes[absl::StatusCode::kResourceExhausted], 0);
  EXPECT_GT(tally.finished, 0);
}

TEST(RouterSimTest, TheSameSeedTellsTheSameStory) {
  SimFaults faults;
  faults.lose = 0.03;
  faults.kill_every_s = 2;
  const auto digest = [&](uint64_t seed) {
    RouterSim sim(seed, faults);
    sim.Run(30, 5);
    return sim.digest();
  };
  EXPECT_EQ(digest(1), digest(1));
  EXPECT_NE(digest(1), digest(2));
}

}  // namespace
}  // namespace decant
