#include "services/prefill/pool_rpc.h"

#include <utility>

#include "absl/cleanup/cleanup.h"
#include "common/base/status_macros.h"
#include "decant/v1/pool.pb.h"

namespace decant {
namespace {

// Messages of this size move fastest (link load test).
constexpr int64_t kMessageBytes = int64_t{1} << 20;

class Download final : public ChunkStream {
 public:
  explicit Download(std::unique_ptr<FrameDownload> download) : download_(std::move(download)) {}

  absl::StatusOr<std::optional<Blob>> Next() override {
    DECANT_ASSIGN_OR_RETURN(std::optional<FrameIn> message, download_->Next());
    if (message.has_value() && message->head().kind == FrameKind::kOpened) {
      v1::FetchOpened opened;
      DECANT_ASSIGN_OR_RETURN(const std::string bytes, message->Payload());
      if (!opened.ParseFromString(bytes)) return absl::DataLossError("the pool's FetchOpened cannot be read");
      lost_ = opened.lost();
      DECANT_ASSIGN_OR_RETURN(message, download_->Next());
    }
    if (!message.has_value()) return std::nullopt;
    if (message->head().kind != FrameKind::kPayload) {
      return absl::FailedPreconditionError("the pool sent something else than frames; run one version of decant");
    }
    absl::Status landed;
    const Blob blob = Blob::Make(message->payload_bytes(), [&](char* to) {
      landed = message->Land(to);
      return message->head().crc32c;
    });
    DECANT_RETURN_IF_ERROR(landed);
    return blob;
  }
  void Cancel() override { download_->Cancel(); }
  std::string lost() const override { return lost_; }

 private:
  std::string lost_;
  const std::unique_ptr<FrameDownload> download_;
};

std::string OpenBytes(const Publication& publication, const ServedModel& model) {
  v1::PublishOpen open;
  open.set_tenant(publication.tenant);
  *open.mutable_model() = ToProto(model);
  open.set_profile(publication.profile);
  open.set_fidelity_floor(publication.floor);
  open.set_ends(publication.ends);
  for (const Publication::Chunk& chunk : publication.chunks) {
    v1::PublishOpen::Chunk* out = open.add_chunks();
    out->set_key(DigestBytes(chunk.key));
    out->set_parent(DigestBytes(chunk.parent));
    out->set_first_token(chunk.first_token);
    out->set_tokens(chunk.tokens);
    out->set_context(DigestBytes(publication.context));
  }
  return open.SerializeAsString();
}

}  // namespace

absl::StatusOr<std::unique_ptr<ChunkStream>> PoolClient::Fetch(const FetchOrder& order, absl::Time deadline) {
  v1::FetchRequest request;
  request.set_lease(order.lease);
  request.set_tenant(order.tenant);
  *request.mutable_model() = ToProto(model_);
  for (const StoredChunk& chunk : order.chunks) {
    v1::PlannedChunk* out = request.add_chunks();
    out->set_key(DigestBytes(chunk.key));
    out->set_first_token(chunk.first_token);
    out->set_tokens(chunk.tokens);
    out->set_profile(chunk.profile);
    out->set_variant(DigestBytes(chunk.variant));
    out->set_bytes(chunk.bytes);
  }
  const std::shared_ptr<grpc::Channel> channel = channels_.Get(order.pool_address);
  const auto download = [channel, bytes = request.SerializeAsString(), deadline] {
    return std::make_unique<Download>(FrameDownload::Start(channel, kFetchMethod, bytes, deadline));
  };
  if (!reader_->Reads(order.pool_address)) return download();
  return reader_->Read(order.pool_address, channel, std::move(request), deadline, download);
}

absl::StatusOr<PublishCounts> PoolClient::Publish(const Publication& publication, absl::Time deadline) {
  const auto upload = FrameUpload::Start(channels_.Get(publication.pool_address), kPublishMethod, deadline);
  {
    absl::MutexLock lock(&mutex_);
    if (cancelled_) return absl::CancelledError("this prefill worker is stopping");
    uploads_.insert(upload.get());
  }
  const auto leave = absl::MakeCleanup([&] {
    absl::MutexLock lock(&mutex_);
    uploads_.erase(upload.get());
  });
  DECANT_RETURN_IF_ERROR(upload->Write(SmallFrame(FrameKind::kOpen, OpenBytes(publication, model_))));
  uint64_t sequence = 0;
  for (const Publication::Layer& layer : publication.layers) {
    FrameOut message;
    int64_t bytes = 0;
    const auto send = [&]() -> absl::Status {
      message.head = HeadOf(FrameKind::kPayload, sequence++, layer.layer, message.parts);
      message.keep = layer.keep;
      bytes = 0;
      return upload->Write(std::exchange(message, FrameOut()));
    };
    for (const ConstMemoryRef& frame : layer.frames) {
      message.parts.push_back(frame);
      bytes += frame.bytes;
      if (bytes >= kMessageBytes) DECANT_RETURN_IF_ERROR(send());
    }
    if (!message.parts.empty()) DECANT_RETURN_IF_ERROR(send());
  }
  DECANT_ASSIGN_OR_RETURN(const std::string bytes, upload->Finish());
  v1::PublishReply reply;
  if (!reply.ParseFromString(bytes)) return absl::DataLossError("the pool's answer to a publish cannot be read");
  return PublishCounts{reply.stored(), reply.known(), reply.refused()};
}

void PoolClient::Cancel() {
  absl::MutexLock lock(&mutex_);
  cancelled_ = true;
  for (FrameUpload* upload : uploads_) upload->Cancel();
}

}  // namespace decant
