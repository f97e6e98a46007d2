#include "services/pool/pool_rpc.h"

#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/crc32c.h"
#include "common/base/status_macros.h"
#include "services/pool/convert_rpc.h"
#include "services/pool/hints_rpc.h"
#include "services/rpc/frame_stream.h"
#include "services/rpc/status_edge.h"

namespace decant {
namespace {

// One message of a fetch, as large as those of a publish.
constexpr int64_t kEnoughBytes = int64_t{1} << 20;
constexpr int64_t kMostBytes = int64_t{1} << 20;
// Of one answer to Locate: some 3 MB.
constexpr size_t kMostPlaces = size_t{1} << 18;

grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context, const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpc(status));
  return reactor;
}

// One Publish call. Frames are landed and checked before the lock is taken.
class PublishStream final : public FrameStreamReceiver {
 public:
  explicit PublishStream(std::shared_ptr<SharedPool> pool) : pool_(std::move(pool)) {}
  ~PublishStream() override {
    if (publish_ == 0) return;
    pool_->With([this](Pool& pool, absl::Time now) {
      pool.AbortPublish(now, publish_);
      return 0;
    });
  }

  absl::Status OnMessage(const FrameIn& message) override {
    if (rules_ == nullptr) return Open(message);
    if (message.head().kind != FrameKind::kPayload) {
      return absl::InvalidArgumentError(
          absl::StrCat("message of kind ", static_cast<uint32_t>(message.head().kind), " inside a publish"));
    }
    CheckedMessage checked;
    // Damaged bytes are frames that never came: their chunks stay incomplete and are refused at the end.
    if (static_cast<uint64_t>(message.payload_bytes()) == message.head().bytes) {
      checked = rules_->Check(
          message.payload_bytes(), message.head().crc32c,
          [&message](int64_t from, int64_t bytes, char* to) { return message.CopyWithCrc(from, bytes, to); },
          pool_->frame_memory());
    }
    return pool_->With([&](Pool& pool, absl::Time now) { return pool.AddFrames(now, publish_, std::move(checked)); });
  }

  absl::StatusOr<std::string> OnEnd() override {
    if (rules_ == nullptr) return absl::InvalidArgumentError("a publish must open with the chunks it brings");
    const uint64_t publish = std::exchange(publish_, 0);
    const absl::StatusOr<PublishTally> tally =
        pool_->With([&](Pool& pool, absl::Time now) { return pool.EndPublish(now, publish); });
    if (!tally.ok()) return tally.status();
    return ToProto(*tally).SerializeAsString();
  }

 private:
  absl::Status Open(const FrameIn& message) {
    if (message.head().kind != FrameKind::kOpen) {
      return absl::InvalidArgumentError("the first message of a publish must be KIND_OPEN with a PublishOpen");
    }
    DECANT_ASSIGN_OR_RETURN(const std::string payload, message.Payload());
    v1::PublishOpen open;
    if (!open.ParseFromString(payload)) return absl::InvalidArgumentError("the PublishOpen cannot be read");
    DECANT_ASSIGN_OR_RETURN(PublishStart start, FromProto(open));
    DECANT_RETURN_IF_ERROR(CheckTenant(start.tenant));
    DECANT_ASSIGN_OR_RETURN(auto rules, PublishRules::Create(std::move(start), pool_->recipes()));
    DECANT_ASSIGN_OR_RETURN(publish_,
                            pool_->With([&](Pool& pool, absl::Time now) { return pool.BeginPublish(now, rules); }));
    rules_ = std::move(rules);
    return absl::OkStatus();
  }

  const std::shared_ptr<SharedPool> pool_;
  std::shared_ptr<const PublishRules> rules_;
  uint64_t publish_ = 0;
};

absl::StatusOr<FetchCursor> BeginFetch(SharedPool& shared, const v1::FetchRequest& request) {
  DECANT_ASSIGN_OR_RETURN(const PoolModel model, PoolModelFrom(request.model()));
  DECANT_ASSIGN_OR_RETURN(const std::vector<WantedChunk> chunks, FromProto(request.chunks()));
  return shared.With([&](Pool& pool, absl::Time now) {
    return pool.BeginFetch(now, request.lease(), request.tenant(), model.fingerprint, chunks);
  });
}

// One Fetch call; blobs are borrowed by the messages on their way.
class FetchStream final : public FrameStreamSource {
 public:
  FetchStream(std::shared_ptr<SharedPool> pool, std::string request)
      : pool_(std::move(pool)), request_(std::move(request)) {}

  bool Await(std::function<void()> ready) override {
    if (!cursor_.has_value() && opened_.ok()) opened_ = Open();
    return opened_.ok() && !cursor_->began && pool_->AwaitLoads(*cursor_, std::move(ready));
  }

  absl::StatusOr<std::optional<FrameOut>> Next() override {
    DECANT_RETURN_IF_ERROR(opened_);
    if (ahead_.has_value()) return Message(*std::exchange(ahead_, std::nullopt));
    const bool is_first = !cursor_->began;
    DECANT_ASSIGN_OR_RETURN(FetchedBatch batch, pool_->With([this](Pool& pool, absl::Time now) {
      return pool.NextFrames(now, *cursor_, kEnoughBytes, kMostBytes);
    }));
    if (!is_first || cursor_->lost.empty()) return Message(std::move(batch));
    ahead_ = std::move(batch);
    v1::FetchOpened opened;
    opened.set_chunks(static_cast<int32_t>(cursor_->entries.size()));
    opened.set_lost(cursor_->lost);
    return SmallFrame(FrameKind::kOpened, opened.SerializeAsString());
  }

 private:
  std::optional<FrameOut> Message(FetchedBatch batch) {
    if (batch.frames.empty()) return std::nullopt;
    FrameOut message;
    message.head.kind = FrameKind::kPayload;
    message.head.sequence = sequence_++;
    message.head.layer = static_cast<uint32_t>(batch.last_layer);
    // From what each had when it came: the reader sees what has happened to it since.
    for (const Blob& blob : batch.frames) {
      message.parts.push_back(ConstMemoryRef{MemorySpace::kHost, blob.view().data(), blob.bytes()});
      message.head.bytes += static_cast<uint64_t>(blob.bytes());
      message.head.crc32c = JoinCrc32c(message.head.crc32c, blob.crc32c(), static_cast<size_t>(blob.bytes()));
    }
    message.keep = std::make_shared<const std::vector<Blob>>(std::move(batch.frames));
    return message;
  }

  absl::Status Open() {
    v1::FetchRequest request;
    if (!request.ParseFromString(request_)) return absl::InvalidArgumentError("the FetchRequest cannot be read");
    DECANT_ASSIGN_OR_RETURN(cursor_, BeginFetch(*pool_, request));
    return absl::OkStatus();
  }

  const std::shared_ptr<SharedPool> pool_;
  const std::string request_;
  absl::Status opened_;
  std::optional<FetchCursor> cursor_;
  std::optional<FetchedBatch> ahead_;
  uint64_t sequence_ = 0;
};

// One Locate call, until what it asks for has come from lower tiers. Owns itself.
class LocateCall {
 public:
  static void Run(std::shared_ptr<SharedPool> pool, const v1::FetchRequest& request, v1::FramePlaces* reply,
                  grpc::ServerUnaryReactor* reactor) {
    if (pool->frame_memory() == nullptr) {
      return reactor->Finish(
          ToGrpc(absl::FailedPreconditionError("this pool has no memory that others can map; fetch the frames")));
    }
    absl::StatusOr<FetchCursor> cursor = BeginFetch(*pool, request);
    if (!cursor.ok()) return reactor->Finish(ToGrpc(cursor.status()));
    auto* const call = new LocateCall(std::move(pool), *std::move(cursor), reply, reactor);
    if (!call->pool_->AwaitLoads(call->cursor_, [call] { call->Answer(); })) call->Answer();
  }

 private:
  LocateCall(std::shared_ptr<SharedPool> pool, FetchCursor cursor, v1::FramePlaces* reply,
             grpc::ServerUnaryReactor* reactor)
      : pool_(std::move(pool)), cursor_(std::move(cursor)), reply_(reply), reactor_(reactor) {}

  void Answer() {
    reactor_->Finish(ToGrpc(Fill()));
    delete this;
  }
  absl::Status Fill() {
    constexpr int64_t kAll = std::numeric_limits<int64_t>::max();
    DECANT_ASSIGN_OR_RETURN(const FetchedBatch batch, pool_->With([this](Pool& pool, absl::Time now) {
      return pool.NextFrames(now, cursor_, kAll, kAll);
    }));
    if (batch.frames.size() > kMostPlaces) {
      return absl::FailedPreconditionError(
          absl::StrCat(batch.frames.size(), " frames; ", kMostPlaces, " can be located at once: fetch them"));
    }
    const FrameMemory& memory = *pool_->frame_memory();
    for (const Blob& frame : batch.frames) {
      const std::optional<uint64_t> offset = memory.OffsetOf(frame);
      if (!offset.has_value()) {
        return absl::FailedPreconditionError("some of these frames lie where others cannot map them; fetch them");
      }
      reply_->add_offset(*offset);
      reply_->add_bytes(static_cast<uint64_t>(frame.bytes()));
      reply_->add_crc32c(frame.crc32c());
    }
    reply_->set_memory(memory.handle());
    reply_->set_memory_id(memory.id());
    reply_->set_lost(cursor_.lost);
    return absl::OkStatus();
  }

  const std::shared_ptr<SharedPool> pool_;
  FetchCursor cursor_;
  v1::FramePlaces* const reply_;
  grpc::ServerUnaryReactor* const reactor_;
};

}  // namespace

grpc::ServerUnaryReactor* PoolService::Plan(grpc::CallbackServerContext* context, const v1::PlanRequest* request,
                                            v1::PlanReply* reply) {
  absl::StatusOr<PlanDemand> demand = FromProto(*request);
  if (!demand.ok()) return Answer(context, demand.status());
  const absl::StatusOr<PlanOffer> offer =
      pool_->With([&](Pool& pool, absl::Time now) { return pool.Plan(now, *demand); });
  if (offer.ok()) *reply = ToProto(*offer);
  return Answer(context, offer.status());
}

grpc::ServerUnaryReactor* PoolService::Locate(grpc::CallbackServerContext* context, const v1::FetchRequest* request,
                                              v1::FramePlaces* reply) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  LocateCall::Run(pool_, *request, reply, reactor);
  return reactor;
}

grpc::ServerUnaryReactor* PoolService::Report(grpc::CallbackServerContext* context, const v1::ReportRequest* request,
                                              v1::ReportReply*) {
  return Answer(context, pool_->With([seen = FromProto(*request)](Pool& pool, absl::Time) {
    pool.Report(seen);
    return absl::OkStatus();
  }));
}

grpc::ServerUnaryReactor* PoolService::Release(grpc::CallbackServerContext* context,
                                               const v1::ReleaseLeaseRequest* request, v1::ReleaseLeaseReply*) {
  return Answer(context, pool_->With([request](Pool& pool, absl::Time now) {
    pool.Release(now, request->lease(), request->tenant());
    return absl::OkStatus();
  }));
}

grpc::ServerUnaryReactor* PoolService::Hint(grpc::CallbackServerContext* context, const v1::PoolHintRequest* request,
                                            v1::PoolHintReply* reply) {
  const absl::StatusOr<std::vector<decant::Hint>> hints = HintsFrom(*request);
  if (!hints.ok()) return Answer(context, hints.status());
  *reply =
      ToProto(pool_->With([&](Pool& pool, absl::Time now) { return pool.TakeHints(now, request->tenant(), *hints); }));
  return Answer(context, absl::OkStatus());
}

grpc::ServerWriteReactor<v1::EventBatch>* PoolService::Events(grpc::CallbackServerContext*,
                                                              const v1::EventsRequest* request) {
  return events_.Follow(*request);
}

grpc::ServerUnaryReactor* PoolService::UpdateWorkflow(grpc::CallbackServerContext* context,
                                                      const v1::WorkflowUpdate* request, v1::WorkflowReply* reply) {
  const absl::StatusOr<WorkflowUpdate> update = FromProto(*request);
  if (!update.ok()) return Answer(context, update.status());
  if (const absl::Status named = CheckTenant(update->tenant); !named.ok()) return Answer(context, named);
  const absl::StatusOr<WorkflowReceipt> receipt =
      pool_->With([&](Pool& pool, absl::Time now) { return pool.UpdateWorkflow(now, *update); });
  if (receipt.ok()) {
    reply->set_chunks_ready(receipt->chunks_ready);
    reply->set_chunks_prefetched(receipt->chunks_prefetched);
    for (const AgentReadiness& next : receipt->next) {
      v1::WorkflowReply::Agent* const agent = reply->add_next();
      agent->set_name(next.name);
      agent->set_steps(next.steps);
      agent->set_chunks(next.chunks);
      agent->set_ready(static_cast<int32_t>(next.readiness.ready));
      agent->set_loading(next.readiness.loading);
    }
  }
  return Answer(context, receipt.status());
}

grpc::ServerReadReactor<grpc::ByteBuffer>* PoolService::Publish(grpc::CallbackServerContext*, grpc::ByteBuffer* reply) {
  return ServeFrameUpload(reply, std::make_unique<PublishStream>(pool_));
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* PoolService::Fetch(grpc::CallbackServerContext*,
                                                               const grpc::ByteBuffer* request) {
  return ServeFrameDownload(std::make_unique<FetchStream>(pool_, ToString(*request)));
}

}  // namespace decant
