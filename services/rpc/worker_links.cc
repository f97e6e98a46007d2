#include "services/rpc/worker_links.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/status_macros.h"
#include "decant/v1/decode.grpc.pb.h"
#include "decant/v1/worker.grpc.pb.h"
#include "services/rpc/log.h"
#include "services/rpc/status_edge.h"

namespace decant {

void LogCarriers(absl::string_view kind, const absl::Status& why) {
  Log(LogLevel::kWarning, absl::StrCat("no link of kind ", kind, ": ", why.message()));
}

class WorkerLinks::Call {
 public:
  Call(WorkerLinks& links, absl::Time deadline) : links_(links) {
    context_.set_deadline(ToGrpc(deadline));
    absl::MutexLock lock(&links_.mutex_);
    links_.calling_ = &context_;
    if (links_.stopping_) context_.TryCancel();
  }
  ~Call() {
    absl::MutexLock lock(&links_.mutex_);
    links_.calling_ = nullptr;
  }
  grpc::ClientContext* context() { return &context_; }

 private:
  WorkerLinks& links_;
  grpc::ClientContext context_;
};

WorkerLinks::WorkerLinks(Channels& channels, std::vector<std::unique_ptr<PayloadCarriers>> carriers,
                         WorkerLinksOptions options)
    : channels_(channels), carriers_(std::move(carriers)), options_(std::move(options)) {
  if (!carriers_.empty()) thread_ = std::thread([this] { Loop(); });
}

WorkerLinks::~WorkerLinks() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    if (calling_ != nullptr) calling_->TryCancel();
  }
  for (const auto& carriers : carriers_) carriers->Stop();
  if (thread_.joinable()) thread_.join();
}

std::vector<LinkKind> WorkerLinks::kinds() const {
  std::vector<LinkKind> kinds = {LinkKind::kGrpc};
  for (const auto& carriers : carriers_) kinds.push_back(LinkKindOf(carriers->kind()));
  return kinds;
}

void WorkerLinks::Describe(v1::DescribeReply& description) const {
  for (const LinkKind kind : kinds()) description.add_links(static_cast<v1::LinkKind>(kind));
}

std::vector<PayloadCarriers*> WorkerLinks::carriers() const {
  std::vector<PayloadCarriers*> all;
  for (const auto& carriers : carriers_) all.push_back(carriers.get());
  return all;
}

PayloadCarriers* WorkerLinks::Find(LinkKind kind) const {
  for (const auto& carriers : carriers_) {
    if (LinkKindOf(carriers->kind()) == kind) return carriers.get();
  }
  return nullptr;
}

std::shared_ptr<PayloadCarrier> WorkerLinks::CarrierTo(const std::string& address) {
  if (carriers_.empty()) return nullptr;
  absl::MutexLock lock(&mutex_);
  if (peers_.size() >= options_.most_peers && !peers_.contains(address) && !Forget()) return nullptr;
  Peer& peer = peers_[address];
  if (peer.carrier != nullptr && peer.carrier->usable()) return peer.carrier;
  peer.carrier = nullptr;
  if (!peer.connecting && absl::Now() >= peer.retry) {
    peer.connecting = true;
    wanted_.push_back(address);
  }
  return nullptr;
}

// Whoever is not being connected may be asked again at any time; false when all are.
bool WorkerLinks::Forget() {
  for (auto it = peers_.begin(); it != peers_.end(); ++it) {
    if (it->second.connecting) continue;
    peers_.erase(it);
    return true;
  }
  return false;
}

std::shared_ptr<PayloadCarrier> WorkerLinks::WaitFor(const std::string& address, absl::Time deadline) {
  {
    absl::MutexLock lock(&mutex_);
    const auto settled = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      const auto found = peers_.find(address);
      return found == peers_.end() || !found->second.connecting;
    };
    mutex_.AwaitWithDeadline(absl::Condition(&settled), deadline);
  }
  return CarrierTo(address);
}

void WorkerLinks::Loop() {
  while (true) {
    std::string address;
    {
      absl::MutexLock lock(&mutex_);
      const auto something = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_ || !wanted_.empty(); };
      mutex_.Await(absl::Condition(&something));
      if (stopping_) return;
      address = std::move(wanted_.front());
      wanted_.pop_front();
    }
    auto carrier = Connect(address);
    if (carrier.ok() && *carrier != nullptr) {
      Log(LogLevel::kInfo, absl::StrCat("frames to ", address, " go over ", NameOf(LinkKindOf((*carrier)->kind()))));
    }
    if (!carrier.ok()) {
      Log(LogLevel::kWarning, absl::StrCat("frames to ", address, " go over gRPC: ", carrier.status().message()));
    }
    absl::MutexLock lock(&mutex_);
    Peer& peer = peers_[address];
    peer.connecting = false;
    peer.retry = absl::Now() + options_.retry_after;
    if (!carrier.ok() || *carrier == nullptr) continue;
    peer.carrier = *std::move(carrier);
    peer.retry = absl::InfinitePast();  // one that breaks after it has worked is made again at once
  }
}

absl::StatusOr<LinkEnd> WorkerLinks::Describe(const std::string& address, absl::Time deadline) {
  const auto stub = v1::Worker::NewStub(channels_.Get(address));
  Call call(*this, deadline);
  v1::DescribeReply reply;
  DECANT_RETURN_IF_ERROR(FromGrpc(stub->Describe(call.context(), v1::DescribeRequest(), &reply)));
  LinkEnd end{reply.host(), {}};
  for (const int kind : reply.links()) {
    if (v1::LinkKind_IsValid(kind)) end.kinds.push_back(static_cast<LinkKind>(kind));
  }
  return end;
}

// Null when gRPC is the best link the two have; the next best is tried when one can't be connected.
absl::StatusOr<std::shared_ptr<PayloadCarrier>> WorkerLinks::Connect(const std::string& address) {
  const absl::Time deadline = absl::Now() + options_.connect_limit;
  DECANT_ASSIGN_OR_RETURN(const LinkEnd there, Describe(address, deadline));
  LinkEnd here{options_.host, kinds()};
  absl::Status why;
  for (LinkKind kind = BestLink(here, there); kind != LinkKind::kGrpc; kind = BestLink(here, there)) {
    const auto exchange = [&](const std::string& hello, absl::Time until) -> absl::StatusOr<std::string> {
      const auto stub = v1::Decode::NewStub(channels_.Get(address));
      Call call(*this, until);
      v1::ConnectRequest request;
      request.set_kind(static_cast<v1::LinkKind>(kind));
      request.set_sender(options_.sender);
      request.set_hello(hello);
      v1::ConnectReply reply;
      DECANT_RETURN_IF_ERROR(FromGrpc(stub->Connect(call.context(), request, &reply)));
      return reply.answer();
    };
    auto carrier = Find(kind)->Connect(address, exchange, deadline);
    if (carrier.ok()) return carrier;
    why = absl::Status(carrier.status().code(), absl::StrCat(NameOf(kind), ": ", carrier.status().message()));
    here.kinds.erase(std::remove(here.kinds.begin(), here.kinds.end(), kind), here.kinds.end());
  }
  if (!why.ok()) return why;
  return nullptr;
}

absl::StatusOr<v1::ConnectReply> WorkerLinks::Accept(const v1::ConnectRequest& request) {
  PayloadCarriers* const carriers =
      v1::LinkKind_IsValid(request.kind()) ? Find(static_cast<LinkKind>(request.kind())) : nullptr;
  if (carriers == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("this worker has no link of kind ", static_cast<int>(request.kind()), "; send over gRPC"));
  }
  DECANT_ASSIGN_OR_RETURN(std::string answer, carriers->Accept(request.sender(), request.hello()));
  v1::ConnectReply reply;
  reply.set_answer(std::move(answer));
  return reply;
}

}  // namespace decant
