#include "services/rpc/worker_rpc.h"

#include <google/protobuf/util/message_differencer.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "decant/v1/generation.grpc.pb.h"
#include "services/rpc/log.h"
#include "services/rpc/status_edge.h"

namespace decant {
namespace {

constexpr absl::Duration kLoadPeriod = absl::Milliseconds(200);
constexpr absl::Duration kQuietLimit = absl::Seconds(1);  // by the protocol
constexpr absl::Duration kRegisterLimit = absl::Seconds(2);
constexpr absl::Duration kRetryPause = absl::Milliseconds(500);
constexpr size_t kWatchersLimit = 64;

}  // namespace

std::string DigestBytes(const Digest& digest) {
  return std::string(reinterpret_cast<const char*>(digest.bytes.data()), digest.bytes.size());
}

absl::StatusOr<Digest> DigestFromBytes(absl::string_view bytes, absl::string_view what) {
  Digest digest;
  if (bytes.size() != digest.bytes.size()) {
    return absl::InvalidArgumentError(absl::StrCat(what, " has ", bytes.size(), " bytes instead of 32"));
  }
  std::memcpy(digest.bytes.data(), bytes.data(), bytes.size());
  return digest;
}

absl::StatusOr<Digest> DigestOrZero(absl::string_view bytes, absl::string_view what) {
  if (bytes.empty()) return Digest();
  return DigestFromBytes(bytes, what);
}

v1::ModelIdentity ToProto(const ServedModel& model) {
  v1::ModelIdentity proto;
  proto.set_fingerprint(DigestBytes(model.fingerprint));
  proto.mutable_geometry()->set_layers(model.geometry.layers);
  proto.mutable_geometry()->set_q_heads(model.geometry.q_heads);
  proto.mutable_geometry()->set_kv_heads(model.geometry.kv_heads);
  proto.mutable_geometry()->set_head_dim(model.geometry.head_dim);
  proto.set_run_type(model.run_type == RunType::kF32 ? v1::RUN_TYPE_F32 : v1::RUN_TYPE_BF16);
  proto.set_max_positions(model.max_positions);
  proto.set_name(model.name);
  return proto;
}

absl::StatusOr<ServedModel> FromProto(const v1::ModelIdentity& proto) {
  ServedModel model;
  DECANT_ASSIGN_OR_RETURN(model.fingerprint, DigestFromBytes(proto.fingerprint(), "the model's fingerprint"));
  model.geometry = Geometry{proto.geometry().layers(), proto.geometry().q_heads(), proto.geometry().kv_heads(),
                            proto.geometry().head_dim()};
  switch (proto.run_type()) {
    case v1::RUN_TYPE_F32:
      model.run_type = RunType::kF32;
      break;
    case v1::RUN_TYPE_BF16:
      model.run_type = RunType::kBf16;
      break;
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("run type ", static_cast<int>(proto.run_type()), " of the model is unknown"));
  }
  model.max_positions = proto.max_positions();
  model.name = proto.name();
  return model;
}

WorkerService::WorkerService(v1::DescribeReply description, std::function<v1::Load()> load)
    : description_(std::move(description)), load_(std::move(load)), thread_([this] { Loop(); }) {}

WorkerService::~WorkerService() { Stop(); }

void WorkerService::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    if (stopping_) return;
    stopping_ = true;
  }
  thread_.join();
}

grpc::ServerUnaryReactor* WorkerService::Describe(grpc::CallbackServerContext* /*context*/,
                                                  const v1::DescribeRequest* /*request*/, v1::DescribeReply* reply) {
  auto answer = UnaryAnswer<v1::DescribeReply>::Create(reply);
  answer->Finish(description_);
  return answer->reactor();
}

grpc::ServerWriteReactor<v1::Load>* WorkerService::WatchLoad(grpc::CallbackServerContext* /*context*/,
                                                             const v1::WatchLoadRequest* /*request*/) {
  auto answer = StreamAnswer<v1::Load>::Create(16);
  absl::Status refusal;
  {
    absl::MutexLock lock(&mutex_);
    if (stopping_) {
      refusal = absl::UnavailableError("this worker is stopping");
    } else if (watchers_.size() >= kWatchersLimit) {
      refusal = absl::ResourceExhaustedError(absl::StrCat(watchers_.size(), " clients already watch this worker"));
    } else {
      watchers_.push_back(answer);
    }
  }
  if (refusal.ok()) {
    (void)answer->Write(load_());
  } else {
    answer->Finish(refusal);
  }
  return answer->reactor();
}

void WorkerService::Loop() {
  v1::Load last;
  absl::Time last_time = absl::InfinitePast();
  bool stopping = false;
  std::vector<std::shared_ptr<StreamAnswer<v1::Load>>> ended;
  while (!stopping) {
    std::vector<std::shared_ptr<StreamAnswer<v1::Load>>> watchers;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.AwaitWithTimeout(absl::Condition(&stopping_), kLoadPeriod);
      stopping = stopping_;
      std::erase_if(watchers_, [&ended](const auto& watcher) {
        return watcher->cancelled() || std::find(ended.begin(), ended.end(), watcher) != ended.end();
      });
      ended.clear();
      watchers = watchers_;
    }
    const v1::Load load = load_();
    const bool changed = !google::protobuf::util::MessageDifferencer::Equals(load, last);
    if (!changed && !stopping && absl::Now() - last_time < kQuietLimit - kLoadPeriod) continue;
    last = load;
    last_time = absl::Now();
    for (const auto& watcher : watchers) {
      if (!watcher->Write(load).ok()) ended.push_back(watcher);  // too far behind: its place is for others
      if (stopping) watcher->Finish(absl::OkStatus());
    }
  }
  absl::MutexLock lock(&mutex_);
  watchers_.clear();
}

Registration::Registration(Channels& channels, std::string router, std::string address, v1::WorkerKind kind)
    : channels_(channels), router_(std::move(router)), address_(std::move(address)), kind_(kind) {
  thread_ = std::thread([this] { Loop(); });
}

Registration::~Registration() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
}

absl::Status Registration::WaitRegistered(absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  if (mutex_.AwaitWithDeadline(absl::Condition(&registered_), deadline)) return absl::OkStatus();
  return last_.ok() ? absl::DeadlineExceededError(absl::StrCat("the router at ", router_, " did not answer")) : last_;
}

void Registration::Loop() {
  while (true) {
    const absl::Duration pause = RegisterOnce();
    absl::MutexLock lock(&mutex_);
    if (mutex_.AwaitWithTimeout(absl::Condition(&stopping_), pause)) return;
  }
}

absl::Duration Registration::RegisterOnce() {
  const auto stub = v1::Generation::NewStub(channels_.Get(router_));
  grpc::ClientContext context;
  context.set_deadline(ToGrpc(absl::Now() + kRegisterLimit));
  v1::RegisterRequest request;
  request.set_address(address_);
  request.set_kind(kind_);
  v1::RegisterReply reply;
  const absl::Status status = FromGrpc(stub->Register(&context, request, &reply));
  bool changed = false;
  {
    absl::MutexLock lock(&mutex_);
    changed = last_.code() != status.code() || registered_ != status.ok();
    last_ = status;
    registered_ = status.ok();
  }
  if (changed && status.ok()) Log(LogLevel::kInfo, absl::StrCat("registered with the router at ", router_));
  if (changed && !status.ok()) {
    Log(LogLevel::kWarning, absl::StrCat("not registered with the router at ", router_, ": ", status.message()));
  }
  // A router that is not there yet, or no more, is normal: it is asked again.
  if (!status.ok()) return kRetryPause;
  return std::max(kRetryPause, absl::Milliseconds(reply.ttl_ms()) / 3);
}

std::string ProcessName() {
  std::random_device device;
  return absl::StrCat(HostName(), "/", getpid(), "/", absl::Hex(device()));
}

std::string HostName() {
  char name[256] = {};
  if (gethostname(name, sizeof(name) - 1) != 0) return "unknown";
  return name;
}

}  // namespace decant
