// Pool and workers that speak the protocol over real sockets and do nothing else.
#ifndef DECANT_TESTS_SERVICES_ROUTER_FAKE_FLEET_H_
#define DECANT_TESTS_SERVICES_ROUTER_FAKE_FLEET_H_

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "common/base/check.h"
#include "decant/v1/decode.grpc.pb.h"
#include "decant/v1/pool.grpc.pb.h"
#include "decant/v1/prefill.grpc.pb.h"
#include "services/router/request_check.h"
#include "services/rpc/reply.h"
#include "services/rpc/server.h"
#include "services/rpc/worker_rpc.h"

namespace decant {

// What a test may wait for: numbers that only grow.
struct Seen {
  std::atomic<int> plans{0};
  std::atomic<int> reserves{0};
  std::atomic<int> prefills{0};
  std::atomic<int> streams{0};
  std::atomic<int> prefills_cancelled{0};
  std::atomic<int> streams_cancelled{0};
  std::atomic<int> tickets_released{0};
  std::atomic<int> leases_released{0};
  std::atomic<int> reports{0};
  absl::Mutex mutex;
  v1::PlanRequest last_plan ABSL_GUARDED_BY(mutex);
  v1::PoolHintRequest last_hint ABSL_GUARDED_BY(mutex);
  v1::WorkflowUpdate last_workflow ABSL_GUARDED_BY(mutex);

  // False when it does not happen within 20 s; never slower than what it waits for.
  static bool Wait(const std::function<bool()>& happened) {
    for (int i = 0; i < 4000 && !happened(); ++i) absl::SleepFor(absl::Milliseconds(5));
    return happened();
  }
};

// What fake workers do with a request; set before it comes.
struct Script {
  bool hold_prefill = false;          // never answers
  std::atomic<int> tokens = 1 << 30;  // sent by one stream before it goes silent
  std::function<int32_t(int64_t position)> token = [](int64_t position) {
    return static_cast<int32_t>('a' + position % 26);
  };
};

class FakePool final : public v1::Pool::CallbackService {
 public:
  explicit FakePool(Seen& seen) : seen_(seen) {}
  grpc::ServerUnaryReactor* Plan(grpc::CallbackServerContext*, const v1::PlanRequest* request,
                                 v1::PlanReply* reply) override {
    auto answer = UnaryAnswer<v1::PlanReply>::Create(reply);
    {
      absl::MutexLock lock(&seen_.mutex);
      seen_.last_plan = *request;
    }
    v1::PlanReply out;
    for (int i = 0; i < request->candidates_size(); ++i) {
      v1::CandidatePlan& plan = *out.add_plans();
      plan.set_candidate(i);
      plan.set_profile(request->profile().empty() ? "k8v4" : request->profile());
      plan.set_reason("the fake pool likes it");
      plan.set_quality(0.9);
    }
    out.set_lease(static_cast<uint64_t>(++seen_.plans));
    answer->Finish(out);
    return answer->reactor();
  }
  grpc::ServerUnaryReactor* UpdateWorkflow(grpc::CallbackServerContext*, const v1::WorkflowUpdate* request,
                                           v1::WorkflowReply* reply) override {
    {
      absl::MutexLock lock(&seen_.mutex);
      seen_.last_workflow = *request;
    }
    auto answer = UnaryAnswer<v1::WorkflowReply>::Create(reply);
    v1::WorkflowReply out;
    out.set_chunks_ready(3);
    if (request->client() == "stranger") {
      answer->Finish(absl::NotFoundError("no such workflow"));
    } else {
      answer->Finish(out);
    }
    return answer->reactor();
  }
  // Executes everything.
  grpc::ServerUnaryReactor* Hint(grpc::CallbackServerContext*, const v1::PoolHintRequest* request,
                                 v1::PoolHintReply* reply) override {
    {
      absl::MutexLock lock(&seen_.mutex);
      seen_.last_hint = *request;
    }
    auto answer = UnaryAnswer<v1::PoolHintReply>::Create(reply);
    v1::PoolHintReply out;
    for (const v1::PoolHint& hint : request->hints()) {
      v1::HintReceipt& receipt = *out.add_receipts();
      receipt.set_action_id(hint.action_id());
      receipt.set_outcome(v1::HINT_OUTCOME_EXECUTED);
      receipt.set_chunks(hint.keys_size());
    }
    answer->Finish(out);
    return answer->reactor();
  }
  grpc::ServerUnaryReactor* Report(grpc::CallbackServerContext*, const v1::ReportRequest*,
                                   v1::ReportReply* reply) override {
    ++seen_.reports;
    auto answer = UnaryAnswer<v1::ReportReply>::Create(reply);
    answer->Finish(v1::ReportReply());
    return answer->reactor();
  }
  grpc::ServerUnaryReactor* Release(grpc::CallbackServerContext*, const v1::ReleaseLeaseRequest*,
                                    v1::ReleaseLeaseReply* reply) override {
    ++seen_.leases_released;
    auto answer = UnaryAnswer<v1::ReleaseLeaseReply>::Create(reply);
    answer->Finish(v1::ReleaseLeaseReply());
    return answer->reactor();
  }

 private:
  Seen& seen_;
};

class FakePrefill final : public v1::Prefill::CallbackService {
 public:
  FakePrefill(Seen& seen, const Script& script) : seen_(seen), script_(script) {}
  grpc::ServerUnaryReactor* Prefill(grpc::CallbackServerContext*, const v1::PrefillRequest* request,
                                    v1::PrefillReply* reply) override {
    auto answer = UnaryAnswer<v1::PrefillReply>::Create(reply);
    answer->OnCancel([this, answer] {
      ++seen_.prefills_cancelled;
      answer->Finish(absl::CancelledError("cancelled"));
    });
    ++seen_.prefills;
    if (script_.hold_prefill) return answer->reactor();
    v1::PrefillReply out;
    out.set_tokens_computed(request->token_ids_size());
    answer->Finish(out);
    return answer->reactor();
  }

 private:
  Seen& seen_;
  const Script& script_;
};

// Streams the script's tokens as soon as somebody listens.
class FakeDecode final : public v1::Decode::CallbackService {
 public:
  FakeDecode(Seen& seen, const Script& script) : seen_(seen), script_(script) {}
  grpc::ServerUnaryReactor* Reserve(grpc::CallbackServerContext*, const v1::ReserveRequest* request,
                                    v1::ReserveReply* reply) override {
    v1::ReserveReply out;
    {
      absl::MutexLock lock(&mutex_);
      ++seen_.reserves;
      reserved_.push_back({request->prompt_tokens(), request->max_tokens(), request->first_token_index()});
      out.set_ticket(reserved_.size());
    }
    auto answer = UnaryAnswer<v1::ReserveReply>::Create(reply);
    answer->Finish(out);
    return answer->reactor();
  }
  grpc::ServerWriteReactor<v1::TokenEvent>* Tokens(grpc::CallbackServerContext*,
                                                   const v1::TokensRequest* request) override {
    Reserved reserved;
    {
      absl::MutexLock lock(&mutex_);
      reserved = reserved_.at(request->ticket() - 1);
    }
    auto stream = StreamAnswer<v1::TokenEvent>::Create(1 << 20);
    stream->OnCancel([this] { ++seen_.streams_cancelled; });
    const int count = std::min(reserved.max_tokens, script_.tokens.load());
    for (int i = 0; i < count; ++i) {
      v1::TokenEvent event;
      event.set_index(reserved.first_index + i);
      event.add_tokens(script_.token(reserved.prompt_tokens + i));
      event.set_last(i + 1 == reserved.max_tokens);
      event.set_finish_reason("length");
      event.mutable_kv()->set_resident(100);
      if (!stream->Write(event).ok()) break;
    }
    if (count == reserved.max_tokens) stream->Finish(absl::OkStatus());
    ++seen_.streams;
    return stream->reactor();
  }
  grpc::ServerUnaryReactor* Release(grpc::CallbackServerContext*, const v1::ReleaseTicketRequest*,
                                    v1::ReleaseTicketReply* reply) override {
    ++seen_.tickets_released;
    auto answer = UnaryAnswer<v1::ReleaseTicketReply>::Create(reply);
    answer->Finish(v1::ReleaseTicketReply());
    return answer->reactor();
  }

 private:
  struct Reserved {
    int prompt_tokens = 0;
    int max_tokens = 0;
    int64_t first_index = 0;
  };
  Seen& seen_;
  const Script& script_;
  absl::Mutex mutex_;
  std::vector<Reserved> reserved_ ABSL_GUARDED_BY(mutex_);
};

inline v1::DescribeReply Description(const RouterModel& model, v1::WorkerKind kind) {
  ServedModel served;
  served.fingerprint = model.fingerprint;
  served.geometry = model.geometry;
  served.run_type = RunType::kF32;
  served.max_positions = model.max_positions;
  served.name = model.name;
  v1::DescribeReply reply;
  reply.set_kind(kind);
  *reply.mutable_model() = ToProto(served);
  reply.add_links(v1::LINK_KIND_GRPC);
  reply.set_host("here");
  reply.set_frame_version(1);
  return reply;
}

// One fake worker with its own server.
class FakeWorker {
 public:
  FakeWorker(const RouterModel& model, v1::WorkerKind kind, Seen& seen, const Script& script)
      : kind_(kind), worker_(Description(model, kind), [] { return v1::Load(); }) {
    if (kind == v1::WORKER_KIND_PREFILL) {
      service_ = std::make_unique<FakePrefill>(seen, script);
    } else {
      service_ = std::make_unique<FakeDecode>(seen, script);
    }
    ServerOptions options;
    options.services = {service_.get(), &worker_};
    options.drain_limit = absl::ZeroDuration();
    auto server = Server::Start(options);
    DECANT_CHECK(server.ok());
    server_ = *std::move(server);
  }
  ~FakeWorker() { Kill(); }

  // Calls under way break off.
  void Kill() { server_.reset(); }
  const std::string& address() const { return server_->address(); }
  v1::WorkerKind kind() const { return kind_; }

 private:
  const v1::WorkerKind kind_;
  WorkerService worker_;
  std::unique_ptr<grpc::Service> service_;
  std::unique_ptr<Server> server_;
};

}  // namespace decant

#endif  // DECANT_TESTS_SERVICES_ROUTER_FAKE_FLEET_H_
