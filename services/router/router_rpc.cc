#include "services/router/router_rpc.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "decant/v1/pool.grpc.pb.h"
#include "services/router/convert_rpc.h"
#include "services/router/hint_call_rpc.h"
#include "services/router/workflow_call_rpc.h"
#include "services/rpc/log.h"
#include "services/rpc/reply.h"
#include "services/rpc/resolve.h"
#include "services/rpc/tenant_rpc.h"

namespace decant {
namespace {

constexpr size_t kMostShards = 64;                       // of the pool
constexpr int32_t kMostHintCalls = 64;                   // at once
constexpr absl::Duration kHintLimit = absl::Seconds(5);  // of a shard

// "HOST:PORT" with a port that exists; everything else is the channel's affair.
bool LooksLikeAddress(const std::string& address) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos || colon == 0 || address.size() > 256) return false;
  int port = 0;
  return absl::SimpleAtoi(absl::string_view(address).substr(colon + 1), &port) && port > 0 && port < 65536;
}

}  // namespace

RouterNode::RouterNode(RouterNodeOptions options, Metrics& metrics)
    : options_(std::move(options)),
      metrics_(metrics),
      channels_(static_cast<size_t>(options_.limits.most_workers) + kMostShards),
      world_(options_.model, shards_, loop_, channels_, calls_, metrics_),
      watch_(loop_, channels_, calls_),
      router_(options_.model, options_.limits, world_) {
  world_.SetRouter(router_);
  watch_.SetRouter(router_);
  if (!options_.pool.empty()) SetPools(ResolveTargets(options_.pool));
  loop_.Start({.next_deadline = [this] { return router_.NextDeadline(); },
               .tick = [this](absl::Time now) { router_.Tick(now); },
               .after = [this] { AfterEvents(); }});
  if (IsDnsName(options_.pool)) pool_watch_ = std::thread([this] { WatchPool(); });
}

RouterNode::~RouterNode() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (pool_watch_.joinable()) pool_watch_.join();
  calls_.CancelAndWait();
  loop_.Stop();
}

void RouterNode::WatchPool() {
  for (;;) {
    {
      absl::MutexLock lock(&mutex_);
      if (mutex_.AwaitWithTimeout(absl::Condition(&stopping_), options_.resolve_every)) return;
    }
    loop_.Post([this, addresses = ResolveTargets(options_.pool)](absl::Time) { SetPools(addresses); });
  }
}

// A name that cannot be resolved now keeps the addresses it had: DNS may be down while the pool is not.
void RouterNode::SetPools(absl::StatusOr<std::vector<std::string>> addresses) {
  if (!addresses.ok()) {
    Log(LogLevel::kWarning, absl::StrCat("the pool's addresses: ", addresses.status().message()));
    return;
  }
  if (addresses->size() > kMostShards) addresses->resize(kMostShards);
  if (*addresses == shards_.addresses()) return;
  Log(LogLevel::kInfo, absl::StrCat("the pool's shards: ", absl::StrJoin(*addresses, ", ")));
  shards_.Set(*std::move(addresses));
}

void RouterNode::AfterEvents() {
  metrics_.Now(router_.running(), router_.workers(WorkerFacts::Kind::kPrefill),
               router_.workers(WorkerFacts::Kind::kDecode));
  absl::MutexLock lock(&mutex_);
  running_ = router_.running();
}

void RouterNode::DrainUntil(absl::Time limit) {
  absl::Notification stopped;
  loop_.Post([&](absl::Time) {
    router_.StopAdmitting();
    AfterEvents();
    stopped.Notify();
  });
  stopped.WaitForNotification();
  absl::MutexLock lock(&mutex_);
  mutex_.AwaitWithDeadline(absl::Condition(this, &RouterNode::Idle), limit);
}

absl::StatusOr<std::string> RouterNode::CallerOf(const grpc::CallbackServerContext& context) const {
  absl::StatusOr<std::string> tenant = TenantOf(context);
  if (!tenant.ok() || tenant->empty() || !options_.limits.tenant_secret.empty()) return tenant;
  return absl::FailedPreconditionError(
      "this router serves one tenant; start it with --tenant-secret FILE, the same for every router of its pool");
}

grpc::ServerWriteReactor<v1::GenerateEvent>* RouterNode::Generate(grpc::CallbackServerContext* context,
                                                                  const v1::GenerateRequest* request) {
  auto stream = ClientStream::Create(options_.pieces_behind);
  const auto refuse = [&](const absl::Status& status) {
    --open_;
    metrics_.Ended(RequestOutcome{"refused", 0, 0});
    stream->Finish(status);
    return stream->reactor();
  };
  if (++open_ > options_.limits.most_running) {
    return refuse(absl::ResourceExhaustedError(absl::StrCat(
        options_.limits.most_running, " requests are running, which is this router's bound; ask again later")));
  }
  const absl::Time began = absl::Now();
  const absl::StatusOr<std::string> tenant = CallerOf(*context);
  if (!tenant.ok()) return refuse(tenant.status());
  absl::StatusOr<GenerateInput> input = FromProto(*request, *tenant);
  if (!input.ok()) return refuse(input.status());
  absl::StatusOr<PreparedRequest> prepared = PrepareRequest(options_.model, *std::move(input));
  if (!prepared.ok()) return refuse(prepared.status());
  prepared->tokenise_time = std::max(absl::ZeroDuration(), absl::Now() - began);

  const RequestNumber number = ++last_number_;
  loop_.Post([this, number, stream, prepared = *std::move(prepared)](absl::Time now) mutable {
    world_.AddClient(number, std::move(stream), [this] { --open_; });
    router_.Generate(now, number, std::move(prepared));
  });
  // After Generate was posted, so that a client that has gone already is still found.
  stream->OnCancel([this, number] {
    loop_.Post([this, number](absl::Time now) {
      router_.ClientGone(now, number, absl::CancelledError("the client is gone"));
    });
  });
  return stream->reactor();
}

grpc::ServerUnaryReactor* RouterNode::Explain(grpc::CallbackServerContext* context, const v1::ExplainRequest* request,
                                              v1::ExplainReply* reply) {
  auto answer = UnaryAnswer<v1::ExplainReply>::Create(reply);
  const absl::StatusOr<std::string> tenant = CallerOf(*context);
  if (!tenant.ok()) {
    answer->Finish(tenant.status());
    return answer->reactor();
  }
  loop_.Post([this, answer, tenant = *tenant, id = request->request_id()](absl::Time) {
    const absl::StatusOr<Explanation> explanation = router_.Explain(tenant, id);
    if (explanation.ok()) {
      answer->Finish(ToProto(*explanation));
    } else {
      answer->Finish(explanation.status());
    }
  });
  return answer->reactor();
}

grpc::ServerUnaryReactor* RouterNode::Register(grpc::CallbackServerContext* /*context*/,
                                               const v1::RegisterRequest* request, v1::RegisterReply* reply) {
  auto answer = UnaryAnswer<v1::RegisterReply>::Create(reply);
  const bool known_kind = request->kind() == v1::WORKER_KIND_PREFILL || request->kind() == v1::WORKER_KIND_DECODE;
  if (!known_kind || !LooksLikeAddress(request->address())) {
    answer->Finish(absl::InvalidArgumentError(
        absl::StrCat("a worker registers with HOST:PORT and its kind; the address is '",
                     request->address().substr(0, 64), "' and the kind ", static_cast<int>(request->kind()))));
    return answer->reactor();
  }
  const auto kind =
      request->kind() == v1::WORKER_KIND_PREFILL ? WorkerFacts::Kind::kPrefill : WorkerFacts::Kind::kDecode;
  loop_.Post([this, answer, kind, address = request->address()](absl::Time) {
    watch_.Register(address, kind, [this, answer](const absl::Status& status) {
      v1::RegisterReply ok;
      ok.set_ttl_ms(static_cast<int32_t>(absl::ToInt64Milliseconds(options_.worker_ttl)));
      if (status.ok()) {
        answer->Finish(ok);
      } else {
        answer->Finish(status);
      }
    });
  });
  return answer->reactor();
}

grpc::ServerUnaryReactor* RouterNode::Hint(grpc::CallbackServerContext* context, const v1::HintRequest* request,
                                           v1::HintReply* reply) {
  auto answer = UnaryAnswer<v1::HintReply>::Create(reply);
  const auto finish = [this, answer](absl::StatusOr<v1::HintReply> result) {
    --hints_open_;
    answer->Finish(std::move(result));
  };
  if (++hints_open_ > kMostHintCalls) {
    finish(absl::ResourceExhaustedError(absl::StrCat(kMostHintCalls, " hints are being worked on already")));
    return answer->reactor();
  }
  const absl::StatusOr<std::string> tenant = CallerOf(*context);
  absl::StatusOr<HintEnvelope> envelope = ParseHints(request->envelope());
  if (!tenant.ok() || !envelope.ok()) {
    finish(tenant.ok() ? envelope.status() : tenant.status());
    return answer->reactor();
  }
  auto call = std::make_shared<HintCall>(*tenant, *std::move(envelope));
  call->Tokenise(options_.model, absl::Now());
  loop_.Post([this, call, finish](absl::Time) {
    const auto& questions = call->Ask(router_, shards_, options_.limits.chunk_tokens);
    if (questions.empty()) finish(call->Reply());
    for (const auto& [shard, question] : questions) {
      const auto stub = v1::Pool::NewStub(channels_.Get(shard));
      const HintCall::Question* asked = &question;
      calls_.Unary(stub->async(), &v1::Pool::Stub::async::Hint, question.request, absl::Now() + kHintLimit,
                   [call, finish, asked](const absl::StatusOr<v1::PoolHintReply>& pool) {
                     if (call->TakeAnswer(*asked, pool)) finish(call->Reply());
                   });
    }
  });
  return answer->reactor();
}

grpc::ServerUnaryReactor* RouterNode::UpdateWorkflow(grpc::CallbackServerContext* context,
                                                     const v1::WorkflowRequest* request, v1::WorkflowReply* reply) {
  auto answer = UnaryAnswer<v1::WorkflowReply>::Create(reply);
  const auto finish = [this, answer](absl::StatusOr<v1::WorkflowReply> result) {
    --hints_open_;
    answer->Finish(std::move(result));
  };
  if (++hints_open_ > kMostHintCalls) {
    finish(absl::ResourceExhaustedError(absl::StrCat(kMostHintCalls, " updates are being worked on already")));
    return answer->reactor();
  }
  const absl::StatusOr<std::string> tenant = CallerOf(*context);
  if (!tenant.ok()) {
    finish(tenant.status());
    return answer->reactor();
  }
  auto call = WorkflowCall::Create(*tenant, *request, options_.model);
  if (!call.ok()) {
    finish(call.status());
    return answer->reactor();
  }
  loop_.Post([this, call = *call, finish](absl::Time) {
    const std::vector<std::string>& shards = shards_.addresses();
    if (shards.empty()) return finish(absl::FailedPreconditionError("this router has no pool"));
    const absl::StatusOr<v1::WorkflowUpdate> update = call->Ask(router_, shards.size());
    if (!update.ok()) return finish(update.status());
    for (const std::string& shard : shards) {
      const auto stub = v1::Pool::NewStub(channels_.Get(shard));
      calls_.Unary(stub->async(), &v1::Pool::Stub::async::UpdateWorkflow, *update, absl::Now() + kHintLimit,
                   [call, finish](const absl::StatusOr<v1::WorkflowReply>& pool) {
                     if (call->TakeAnswer(pool)) finish(call->Reply());
                   });
    }
  });
  return answer->reactor();
}

}  // namespace decant
