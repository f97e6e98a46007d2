#include "services/rpc/frame_stream.h"

#include <grpcpp/client_context.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/client_callback.h>

#include <deque>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "services/rpc/status_edge.h"

namespace decant {
namespace {

grpc::ByteBuffer ToBuffer(absl::string_view bytes) {
  const grpc::Slice slice(bytes.data(), bytes.size());
  return grpc::ByteBuffer(&slice, 1);
}

class Upload final : public grpc::ServerReadReactor<grpc::ByteBuffer> {
 public:
  Upload(grpc::ByteBuffer* reply, std::unique_ptr<FrameStreamReceiver> receiver)
      : reply_(reply), receiver_(std::move(receiver)) {
    StartRead(&in_);
  }
  void OnReadDone(bool ok) override {
    if (!ok) return Finish(ToGrpc(End()));
    absl::StatusOr<FrameIn> message = FrameIn::Parse(in_);
    in_.Clear();
    const absl::Status taken = message.ok() ? Take(*message) : message.status();
    if (!taken.ok()) return Finish(ToGrpc(taken));
    StartRead(&in_);
  }
  void OnDone() override { delete this; }

 private:
  absl::Status Take(const FrameIn& message) {
    if (complete_) return absl::InvalidArgumentError("a message follows KIND_COMMIT; end the stream there");
    if (message.head().kind != FrameKind::kCommit) {
      ++messages_;
      return receiver_->OnMessage(message);
    }
    if (message.head().sequence != messages_) {
      return absl::DataLossError(absl::StrCat("received ", messages_, " messages, but the sender counts ",
                                              message.head().sequence, "; send the stream again"));
    }
    complete_ = true;
    return absl::OkStatus();
  }
  // A read ends the same way when the client has half-closed and when the stream broke; KIND_COMMIT tells them apart.
  absl::Status End() {
    if (!complete_) return absl::CancelledError("the stream ended before KIND_COMMIT; send it again");
    absl::StatusOr<std::string> reply = receiver_->OnEnd();
    if (reply.ok()) *reply_ = ToBuffer(*reply);
    return reply.status();
  }

  grpc::ByteBuffer* const reply_;
  const std::unique_ptr<FrameStreamReceiver> receiver_;
  grpc::ByteBuffer in_;
  uint64_t messages_ = 0;
  bool complete_ = false;
};

class Download final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  explicit Download(std::unique_ptr<FrameStreamSource> source) : source_(std::move(source)) { Next(); }
  void OnWriteDone(bool ok) override {
    out_.Clear();
    if (!ok) return Finish(grpc::Status(grpc::StatusCode::CANCELLED, "the client is gone"));
    Next();
  }
  void OnDone() override { delete this; }

 private:
  // When it awaits, `ready` may have come, and even OnDone, before Await returns: nothing may be touched then.
  void Next() {
    if (!source_->Await([this] { Send(); })) Send();
  }
  void Send() {
    absl::StatusOr<std::optional<FrameOut>> message = source_->Next();
    if (!message.ok()) return Finish(ToGrpc(message.status()));
    if (!message->has_value()) return Finish(grpc::Status::OK);
    out_ = EncodeFrame(**message);
    StartWrite(&out_);
  }

  const std::unique_ptr<FrameStreamSource> source_;
  grpc::ByteBuffer out_;
};

// What both client ends share: the call, its end, and the hold that lets the caller's thread start operations while no
// reaction runs. Kept alive by gRPC until OnDone.
class ClientStream : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  ClientStream(std::shared_ptr<grpc::Channel> channel, absl::Time deadline) : stub_(std::move(channel)) {
    context_.set_deadline(ToGrpc(deadline));
  }

  void Begin(const std::string& method, std::shared_ptr<ClientStream> self) {
    self_ = std::move(self);
    stub_.PrepareBidiStreamingCall(&context_, method, {}, this);
    AddHold();
  }
  void Cancel() { context_.TryCancel(); }
  void CancelAndWait() {
    Cancel();
    ReleaseHold();
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(&done_));
  }
  void OnDone(const grpc::Status& status) override {
    std::shared_ptr<ClientStream> last;
    absl::MutexLock lock(&mutex_);
    status_ = FromGrpc(status);
    done_ = true;
    last = std::move(self_);
  }

 protected:
  // No operation is started outside reactions after this.
  void ReleaseHold() {
    {
      absl::MutexLock lock(&mutex_);
      if (released_) return;
      released_ = true;
    }
    RemoveHold();
  }

  absl::Mutex mutex_;
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
  bool released_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);

 private:
  grpc::GenericStub stub_;
  grpc::ClientContext context_;
  std::shared_ptr<ClientStream> self_;
};

}  // namespace

grpc::ServerReadReactor<grpc::ByteBuffer>* ServeFrameUpload(grpc::ByteBuffer* reply,
                                                            std::unique_ptr<FrameStreamReceiver> receiver) {
  return new Upload(reply, std::move(receiver));
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* ServeFrameDownload(std::unique_ptr<FrameStreamSource> source) {
  return new Download(std::move(source));
}

std::string ToString(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  std::string bytes;
  if (!buffer.Dump(&slices).ok()) return bytes;
  bytes.reserve(buffer.Length());
  for (const grpc::Slice& slice : slices) bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return bytes;
}

struct FrameUpload::Reactor final : ClientStream {
  Reactor(std::shared_ptr<grpc::Channel> channel, absl::Time deadline, int window)
      : ClientStream(std::move(channel), deadline), window_(static_cast<size_t>(window)) {}

  void Start() {
    StartRead(&reply_);
    StartCall();
  }
  absl::Status Write(const FrameOut& message) {
    grpc::ByteBuffer encoded = EncodeFrame(message);
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(
        +[](Reactor* r) ABSL_EXCLUSIVE_LOCKS_REQUIRED(r->mutex_) {
          return r->done_ || r->broken_ || r->queue_.size() < r->window_;
        },
        this));
    if (broken_ || done_) return AsError(AwaitEnd());
    queue_.push_back(std::move(encoded));
    ++messages_;
    Pump();
    return absl::OkStatus();
  }
  absl::StatusOr<std::string> Finish() {
    absl::MutexLock lock(&mutex_);
    if (!ending_ && !broken_ && !done_) {
      ending_ = true;
      FrameOut commit;
      commit.head.kind = FrameKind::kCommit;
      commit.head.sequence = messages_;
      queue_.push_back(EncodeFrame(commit));
      Pump();
    }
    if (absl::Status end = AwaitEnd(); !end.ok()) return end;
    return ToString(reply_);
  }
  void OnWriteDone(bool ok) override {
    absl::MutexLock lock(&mutex_);
    writing_ = false;
    queue_.pop_front();
    if (!ok) broken_ = true;
    if (!broken_) Pump();
  }
  // The only read ends with the reply or with the call; either way nothing is to be written any more.
  void OnReadDone(bool) override {
    {
      absl::MutexLock lock(&mutex_);
      broken_ = true;
    }
    ReleaseHold();
  }

 private:
  void Pump() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (writing_) return;
    if (!queue_.empty()) {
      writing_ = true;
      StartWrite(&queue_.front());
    } else if (ending_ && !half_closed_) {
      half_closed_ = true;
      StartWritesDone();
    }
  }
  absl::Status AwaitEnd() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    mutex_.Await(absl::Condition(&done_));
    if (!status_.ok()) return status_;
    return ending_ ? absl::OkStatus() : absl::UnavailableError("the receiver ended the stream before all was written");
  }

  const size_t window_;
  std::deque<grpc::ByteBuffer> queue_ ABSL_GUARDED_BY(mutex_);  // the first is being written while writing_
  uint64_t messages_ ABSL_GUARDED_BY(mutex_) = 0;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  bool half_closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;
  grpc::ByteBuffer reply_;
};

FrameUpload::FrameUpload(std::shared_ptr<Reactor> reactor) : reactor_(std::move(reactor)) {}
FrameUpload::~FrameUpload() { reactor_->CancelAndWait(); }

std::unique_ptr<FrameUpload> FrameUpload::Start(std::shared_ptr<grpc::Channel> channel, const std::string& method,
                                                absl::Time deadline, int window) {
  auto reactor = std::make_shared<Reactor>(std::move(channel), deadline, window);
  reactor->Begin(method, reactor);
  reactor->Start();
  return std::unique_ptr<FrameUpload>(new FrameUpload(std::move(reactor)));
}

absl::Status FrameUpload::Write(FrameOut message) { return reactor_->Write(message); }
absl::StatusOr<std::string> FrameUpload::Finish() { return reactor_->Finish(); }
void FrameUpload::Cancel() { reactor_->Cancel(); }

struct FrameDownload::Reactor final : ClientStream {
  Reactor(std::shared_ptr<grpc::Channel> channel, absl::string_view request, absl::Time deadline, int window)
      : ClientStream(std::move(channel), deadline), window_(static_cast<size_t>(window)), request_(ToBuffer(request)) {}

  void Start() {
    StartWriteLast(&request_, grpc::WriteOptions());
    StartRead(&in_);
    StartCall();
  }
  absl::StatusOr<std::optional<FrameIn>> Next() {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(
        +[](Reactor* r) ABSL_EXCLUSIVE_LOCKS_REQUIRED(r->mutex_) { return r->done_ || !r->ahead_.empty(); }, this));
    if (ahead_.empty()) {
      if (!status_.ok()) return status_;
      return std::optional<FrameIn>();
    }
    absl::StatusOr<FrameIn> first = FrameIn::Parse(ahead_.front());
    ahead_.pop_front();
    if (paused_ && !released_) {
      paused_ = false;
      StartRead(&in_);
    }
    if (!first.ok()) return first.status();
    return std::optional<FrameIn>(std::move(*first));
  }
  void OnReadDone(bool ok) override {
    {
      absl::MutexLock lock(&mutex_);
      if (ok) {
        ahead_.push_back(std::move(in_));
        in_ = grpc::ByteBuffer();
        paused_ = ahead_.size() >= window_;
        if (!paused_) StartRead(&in_);
        return;
      }
    }
    ReleaseHold();
  }

 private:
  const size_t window_;
  grpc::ByteBuffer request_;
  grpc::ByteBuffer in_;
  std::deque<grpc::ByteBuffer> ahead_ ABSL_GUARDED_BY(mutex_);
  bool paused_ ABSL_GUARDED_BY(mutex_) = false;  // no read is under way because the window is full
};

FrameDownload::FrameDownload(std::shared_ptr<Reactor> reactor) : reactor_(std::move(reactor)) {}
FrameDownload::~FrameDownload() { reactor_->CancelAndWait(); }

std::unique_ptr<FrameDownload> FrameDownload::Start(std::shared_ptr<grpc::Channel> channel, const std::string& method,
                                                    absl::string_view request, absl::Time deadline, int window) {
  auto reactor = std::make_shared<Reactor>(std::move(channel), request, deadline, window);
  reactor->Begin(method, reactor);
  reactor->Start();
  return std::unique_ptr<FrameDownload>(new FrameDownload(std::move(reactor)));
}

absl::StatusOr<std::optional<FrameIn>> FrameDownload::Next() { return reactor_->Next(); }
void FrameDownload::Cancel() { reactor_->Cancel(); }

}  // namespace decant
