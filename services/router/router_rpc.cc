#include "services/router/router_rpc.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "services/router/convert_rpc.h"
#include "services/rpc/reply.h"

namespace decant {
namespace {

// Until connections carry an identity there is one tenant.
constexpr char kTenant[] = "";

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
      channels_(static_cast<size_t>(options_.limits.most_workers) + 1),
      world_(options_.model, options_.pool, loop_, channels_, calls_, metrics_),
      watch_(loop_, channels_, calls_),
      router_(options_.model, options_.limits, world_) {
  world_.SetRouter(router_);
  watch_.SetRouter(router_);
  loop_.Start({.next_deadline = [this] { return router_.NextDeadline(); },
               .tick = [this](absl::Time now) { router_.Tick(now); },
               .after = [this] { AfterEvents(); }});
}

RouterNode::~RouterNode() {
  calls_.CancelAndWait();
  loop_.Stop();
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

grpc::ServerWriteReactor<v1::GenerateEvent>* RouterNode::Generate(grpc::CallbackServerContext* /*context*/,
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
  absl::StatusOr<GenerateInput> input = FromProto(*request, kTenant);
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

grpc::ServerUnaryReactor* RouterNode::Explain(grpc::CallbackServerContext* /*context*/,
                                              const v1::ExplainRequest* request, v1::ExplainReply* reply) {
  auto answer = UnaryAnswer<v1::ExplainReply>::Create(reply);
  loop_.Post([this, answer, id = request->request_id()](absl::Time) {
    const absl::StatusOr<Explanation> explanation = router_.Explain(kTenant, id);
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

}  // namespace decant
