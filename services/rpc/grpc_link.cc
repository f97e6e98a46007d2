// The sending end. The caller's thread queues batches; reactions send a batch when its grant has come and count
// acknowledgements. One read is always under way, so its failure marks the end of the call.
#include "services/rpc/grpc_link.h"

#include <grpcpp/client_context.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/client_callback.h>

#include <algorithm>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "common/base/bytes.h"
#include "common/base/crc32c.h"
#include "common/base/link_kind.h"
#include "common/base/status_macros.h"
#include "decant/v1/frames.pb.h"
#include "services/rpc/frame_message.h"
#include "services/rpc/status_edge.h"

namespace decant {
namespace {

constexpr char kTransferMethod[] = "/decant.v1.Decode/Transfer";
// How long the receiver may take to answer an abort before the call is cancelled under it.
constexpr absl::Duration kAbortLimit = absl::Milliseconds(500);

// Batches that are granted travel together up to this: what a message costs hardly depends on its size.
constexpr uint64_t kMessageBytes = uint64_t{2} << 20;

struct Batch {
  FrameHead head;
  std::vector<ConstMemoryRef> parts;
  bool inline_only = false;  // its carrier did not want it
};

// Counts the batches whose parts gRPC still holds. Its own lock, because slices are let go anywhere.
class Loans : public std::enable_shared_from_this<Loans> {
 public:
  std::shared_ptr<const void> Take() {
    absl::MutexLock lock(&mutex_);
    ++count_;
    return std::shared_ptr<const void>(this, [self = shared_from_this()](const void*) {
      absl::MutexLock returned(&self->mutex_);
      --self->count_;
    });
  }
  bool AwaitNone(absl::Time deadline) {
    absl::MutexLock lock(&mutex_);
    return mutex_.AwaitWithDeadline(absl::Condition(
                                        +[](int* count) { return *count == 0; }, &count_),
                                    deadline);
  }

 private:
  absl::Mutex mutex_;
  int count_ ABSL_GUARDED_BY(mutex_) = 0;
};

// One call of Decode.Transfer. gRPC keeps it alive until OnDone, the slices it borrows until they are let go.
class TransferCall final : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                           public std::enable_shared_from_this<TransferCall> {
 public:
  TransferCall(std::shared_ptr<grpc::Channel> channel, const GrpcLinkOptions& options, uint64_t ticket,
               std::shared_ptr<PayloadCarrier> carrier)
      : options_(options),
        ticket_(ticket),
        stub_(std::move(channel)),
        carried_by_(KindOf(carrier.get())),
        carrier_(std::move(carrier)) {
    context_.emplace().set_deadline(ToGrpc(absl::Now() + options.transfer_limit));
  }

  absl::Status Open(const TransferOpen& open, absl::Time deadline) {
    v1::TransferOpen message;
    message.set_ticket(open.ticket);
    message.set_sender(open.sender);
    message.set_model_fingerprint(open.model_fingerprint.bytes.data(), open.model_fingerprint.bytes.size());
    message.set_frame_version(open.frame_version);
    self_ = shared_from_this();
    stub_.PrepareBidiStreamingCall(&*context_, kTransferMethod, {}, this);
    AddHold();
    StartRead(&in_);
    StartCall();
    absl::MutexLock lock(&mutex_);
    Queue(SmallFrame(FrameKind::kOpen, message.SerializeAsString()));
    return Await(&TransferCall::Opened, deadline, "the receiver's answer to the opening");
  }

  absl::Status Send(uint32_t layer, absl::Span<const ConstMemoryRef> parts, absl::Time deadline) {
    for (const ConstMemoryRef& part : parts) {
      if (part.space != MemorySpace::kHost && options_.mover == nullptr) {
        return absl::InvalidArgumentError("this link sends host memory only; copy the part to the host first");
      }
    }
    Batch batch{{}, {parts.begin(), parts.end()}};
    DECANT_ASSIGN_OR_RETURN(batch.head, Head(layer, parts));
    absl::MutexLock lock(&mutex_);
    if (!HasRoom(options_.window, options_.window_bytes)) {
      // Waking up for every single acknowledgement would cost more than a window that runs half empty.
      DECANT_RETURN_IF_ERROR(Await(&TransferCall::HasHalfTheRoom, deadline, "room in the window"));
    }
    batch.head.sequence = next_++;
    in_flight_.push_back(static_cast<int64_t>(batch.head.bytes));
    in_flight_bytes_ += static_cast<int64_t>(batch.head.bytes);
    payload_bytes_ += static_cast<int64_t>(batch.head.bytes);
    ahead_.push_back(batch.head);
    batches_.push_back(std::move(batch));
    Pump();
    return absl::OkStatus();
  }

  absl::Status Flush(absl::Time deadline) {
    {
      absl::MutexLock lock(&mutex_);
      DECANT_RETURN_IF_ERROR(Await(&TransferCall::Acknowledged, deadline, "the acknowledgement of every batch"));
    }
    if (loans_->AwaitNone(deadline)) return absl::OkStatus();
    absl::MutexLock lock(&mutex_);
    return Late("gRPC to let go of what it sent");
  }

  absl::Status Commit(TransferCommit commit, absl::Time deadline) {
    DECANT_RETURN_IF_ERROR(Flush(deadline));
    absl::MutexLock lock(&mutex_);
    v1::TransferCommit message;
    message.set_ticket(ticket_);
    message.set_batches(next_);
    message.set_prompt_tokens(commit.prompt_tokens);
    message.set_first_token(commit.first_token);
    message.set_prefix_tokens_reused(commit.prefix_tokens_reused);
    message.set_tokens_computed(commit.tokens_computed);
    message.set_payload_bytes(payload_bytes_);
    message.set_finished(commit.finished);
    Queue(SmallFrame(FrameKind::kCommit, message.SerializeAsString()));
    return Await(&TransferCall::Committed, deadline, "the receiver's answer to the commit");
  }

  // Ends the call for good and waits until gRPC holds nothing of it. A second time does nothing.
  void End(const absl::Status& why) {
    if (!context_.has_value()) return;
    {
      absl::MutexLock lock(&mutex_);
      // A write under way may be stuck behind a receiver that does not read: then only cancelling ends the call.
      const absl::Time limit = absl::Now() + kAbortLimit;
      mutex_.AwaitWithDeadline(
          absl::Condition(
              +[](TransferCall* c) ABSL_EXCLUSIVE_LOCKS_REQUIRED(c->mutex_) { return !c->writing_ || c->broken_; },
              this),
          limit);
      if (!broken_ && !committed_ && !writing_) {
        FrameOut abort = SmallFrame(FrameKind::kAbort, why.message());
        abort.head.sequence = static_cast<uint64_t>(why.code());
        out_.clear();
        Queue(abort);
        mutex_.AwaitWithDeadline(absl::Condition(&broken_), limit);
      }
      if (committed_) mutex_.AwaitWithDeadline(absl::Condition(&broken_), absl::Now() + kAbortLimit);
      stopped_ = true;
      passage_.reset();
      carrier_.reset();  // gRPC may keep this object a little longer than the carriers live
    }
    context_->TryCancel();
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(&done_));
    }
    context_.reset();
    loans_->AwaitNone(absl::InfiniteFuture());
  }

  void Cancel() {
    absl::MutexLock lock(&mutex_);
    if (!done_) context_->TryCancel();
  }
  bool committed() {
    absl::MutexLock lock(&mutex_);
    return committed_;
  }
  int64_t wire_bytes() {
    absl::MutexLock lock(&mutex_);
    return wire_bytes_;
  }
  FrameSender::Carried carried() {
    absl::MutexLock lock(&mutex_);
    return {static_cast<LinkKind>(carried_by_), carried_bytes_};
  }

  void OnReadDone(bool ok) override {
    if (ok) ok = Take(in_);
    in_.Clear();
    if (ok) return StartRead(&in_);
    {
      absl::MutexLock lock(&mutex_);
      broken_ = true;
    }
    RemoveHold();
  }
  void OnWriteDone(bool ok) override {
    absl::MutexLock lock(&mutex_);
    current_.Clear();
    writing_ = false;
    if (ok) Pump();
  }
  void OnDone(const grpc::Status& status) override {
    std::shared_ptr<TransferCall> last;  // destroyed after the lock is gone
    absl::MutexLock lock(&mutex_);
    out_.clear();
    if (status_.ok()) status_ = FromGrpc(status);
    if (status_.ok() && !committed_)
      status_ = absl::UnavailableError("the receiver ended the transfer before its commit");
    done_ = true;
    last = std::move(self_);
  }

 private:
  using State = bool (TransferCall::*)() const;

  bool Opened() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return opened_; }
  bool HasRoom(int batches, int64_t bytes) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return in_flight_.empty() || (in_flight_.size() < static_cast<size_t>(batches) && in_flight_bytes_ < bytes);
  }
  bool HasHalfTheRoom() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return HasRoom((options_.window + 1) / 2, (options_.window_bytes + 1) / 2);
  }
  bool Acknowledged() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return acked_ == next_; }
  bool Committed() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return committed_; }

  absl::Status Await(State state, absl::Time deadline, absl::string_view what) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    struct Wait {
      TransferCall* call;
      State state;
    } wait{this, state};
    const bool came = mutex_.AwaitWithDeadline(
        absl::Condition(
            +[](Wait* w) ABSL_NO_THREAD_SAFETY_ANALYSIS { return w->call->done_ || (w->call->*w->state)(); }, &wait),
        deadline);
    if ((this->*state)()) return absl::OkStatus();
    return came ? status_ : Late(what);
  }
  absl::Status Late(absl::string_view what) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return absl::DeadlineExceededError(absl::StrCat("transfer ", ticket_, " waited in vain for ", what, " (", acked_,
                                                    " of ", next_,
                                                    " batches acknowledged); allow more time or look at the receiver"));
  }

  absl::StatusOr<FrameHead> Head(uint32_t layer, absl::Span<const ConstMemoryRef> parts) const {
    FrameHead head;
    head.kind = FrameKind::kPayload;
    head.layer = layer;
    for (const ConstMemoryRef& part : parts) {
      head.bytes += static_cast<uint64_t>(part.bytes);
      if (!options_.checksums) continue;
      if (part.space == MemorySpace::kHost) {
        head.crc32c = Crc32c(part.address, static_cast<size_t>(part.bytes), head.crc32c);
      } else {
        DECANT_ASSIGN_OR_RETURN(head.crc32c, options_.mover->Checksum(part, head.crc32c));
      }
    }
    return head;
  }

  void Queue(const FrameOut& frame) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    out_.push_back(EncodeFrame(frame));
    Pump();
  }
  // gRPC allows one write at a time and never runs a reaction inside StartWrite, so the lock may be held.
  void Pump() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (writing_ || broken_ || stopped_ || !Next(current_)) return;
    wire_bytes_ += static_cast<int64_t>(current_.Length());
    writing_ = true;
    StartWrite(&current_);
  }
  // What to write next, if anything: an opening or an end, else granted batches with new announcements on their back.
  bool Next(grpc::ByteBuffer& message) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!out_.empty()) {
      message.Swap(&out_.front());
      out_.pop_front();
      return true;
    }
    HandOver();
    FrameOut frame;
    std::string slips;
    // What goes with the messages waits until what is carried has landed, so that batches land in order.
    if (!slips_.empty()) {
      slips = PackSlips(frame.head);
      frame.parts.push_back({MemorySpace::kHost, slips.data(), static_cast<int64_t>(slips.size())});
    } else if (sent_ < granted_ && carried_.empty()) {
      frame.head.kind = FrameKind::kPayload;
      frame.head.sequence = sent_;
      frame.keep = loans_->Take();
      do {
        const Batch& batch = batches_.front();
        frame.head.bytes += batch.head.bytes;
        ++frame.head.batches;
        for (const ConstMemoryRef& part : batch.parts) AddPart(part, frame);
        batches_.pop_front();
        ++sent_;
      } while (sent_ < granted_ && frame.head.bytes + batches_.front().head.bytes <= kMessageBytes && !MayBeCarried());
    } else if (!ahead_.empty()) {
      frame.head.kind = FrameKind::kAnnounce;
    } else {
      return false;
    }
    const size_t announced = std::min(ahead_.size(), kMostAhead);
    frame.ahead.assign(ahead_.begin(), ahead_.begin() + static_cast<ptrdiff_t>(announced));
    ahead_.erase(ahead_.begin(), ahead_.begin() + static_cast<ptrdiff_t>(announced));
    message = EncodeFrame(frame);
    return true;
  }

  // Slips that came while a message was being written travel together.
  std::string PackSlips(FrameHead& head) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    std::string packed;
    ByteWriter writer(packed);
    for (const std::string& slip : slips_) writer.PutString(slip);
    head.kind = FrameKind::kPayload;
    head.sequence = told_ - slips_.size();
    head.batches = slips_.size();
    head.carried = carried_by_;
    head.bytes = packed.size();
    head.crc32c = Crc32c(packed.data(), packed.size());
    slips_.clear();
    return packed;
  }

  // Device memory is copied to the host here and now: only what its carrier did not take comes this way.
  void AddPart(const ConstMemoryRef& part, FrameOut& frame) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (part.space == MemorySpace::kHost) {
      frame.parts.push_back(part);
      return;
    }
    struct Copies {
      std::shared_ptr<const void> before;
      std::vector<uint8_t> bytes;
    };
    auto copies = std::make_shared<Copies>();
    copies->before = std::move(frame.keep);
    copies->bytes.resize(static_cast<size_t>(part.bytes));
    const MemoryRef to{MemorySpace::kHost, copies->bytes.data(), part.bytes};
    // What a failed copy leaves is not what was announced, so the receiver refuses it.
    if (const absl::Status copied = options_.mover->Copy(to, part); !copied.ok() && status_.ok()) status_ = copied;
    frame.parts.push_back({MemorySpace::kHost, to.address, to.bytes});
    frame.keep = std::move(copies);
  }

  // Whether the next batch is the carrier's, should it be free.
  bool MayBeCarried() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return carrier_ != nullptr && !batches_.front().inline_only;
  }
  // Gives granted batches to the carrier, for as long as it takes them.
  void HandOver() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    while (sent_ < granted_ && MayBeCarried()) {
      if (passage_ == nullptr) passage_ = carrier_->Take();
      if (passage_ == nullptr) {
        if (!carrier_->usable()) carrier_ = nullptr;
        return;
      }
      Batch& batch = batches_.front();
      const auto tell = [self = shared_from_this(), sequence = batch.head.sequence,
                         age = age_](const absl::StatusOr<std::string>& slip) { self->Told(sequence, age, slip); };
      const absl::Status sent =
          passage_->Send(batch.parts, absl::Now() + options_.carry_limit, tell, [loan = loans_->Take()] {});
      if (absl::IsResourceExhausted(sent)) {
        if (!carried_.empty()) return;  // there may be room once those have landed
        batch.inline_only = true;
      } else if (!sent.ok()) {
        carrier_ = nullptr;
      } else {
        carried_.push_back(std::move(batch));
        batches_.pop_front();
        ++sent_;
      }
    }
    if (carried_.empty()) passage_.reset();
  }
  // By the carrier: the slip of a batch, or why there is none.
  void Told(uint64_t sequence, uint64_t age, const absl::StatusOr<std::string>& slip) {
    absl::MutexLock lock(&mutex_);
    if (age != age_ || stopped_ || broken_) return;
    if (!slip.ok()) {
      LoseCarrier(sequence);
      return Pump();
    }
    // A receiver that acknowledges what it cannot have is wrong, and finds that out at the commit.
    if (carried_.empty() || sequence < carried_.front().head.sequence) return;
    const auto bytes = static_cast<int64_t>(carried_[sequence - carried_.front().head.sequence].head.bytes);
    wire_bytes_ += bytes;
    carried_bytes_ += bytes;
    slips_.push_back(*slip);
    told_ = sequence + 1;
    Pump();
  }
  // Batches from `sequence` on were not carried: they, and all later ones, go with the messages.
  void LoseCarrier(uint64_t sequence) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    ++age_;
    carrier_ = nullptr;
    for (; !slips_.empty() && told_ > sequence; --told_) slips_.pop_back();
    while (!carried_.empty() && carried_.back().head.sequence >= sequence) {
      batches_.push_front(std::move(carried_.back()));
      carried_.pop_back();
      --sent_;
    }
    if (carried_.empty()) passage_.reset();
  }

  // False when the message breaks the protocol; the call is then cancelled.
  bool Take(const grpc::ByteBuffer& buffer) {
    absl::StatusOr<FrameIn> message = FrameIn::Parse(buffer);
    absl::MutexLock lock(&mutex_);
    const absl::Status taken = message.ok() ? Apply(message->head()) : message.status();
    if (taken.ok()) return true;
    status_ = taken;
    context_->TryCancel();
    return false;
  }
  absl::Status Apply(const FrameHead& head) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (head.kind == FrameKind::kOpened && !opened_) {
      opened_ = true;
    } else if ((head.kind == FrameKind::kGrant || head.kind == FrameKind::kAck ||
                (head.kind == FrameKind::kInline && !carried_.empty())) &&
               head.granted >= granted_ && head.granted <= next_ - ahead_.size() && head.landed >= acked_ &&
               head.landed <= sent_) {
      granted_ = head.granted;
      for (; acked_ < head.landed; ++acked_) {
        in_flight_bytes_ -= in_flight_.front();
        in_flight_.pop_front();
        if (carried_.empty() || carried_.front().head.sequence != acked_) continue;  // went with a message
        carried_.pop_front();
        if (passage_ != nullptr) passage_->Landed();  // End has given it back already
      }
      if (head.kind == FrameKind::kInline) LoseCarrier(head.landed);
      if (carried_.empty()) passage_.reset();  // others may have it from here on
      Pump();
    } else if (head.kind == FrameKind::kCommitted && acked_ == next_) {
      committed_ = true;
    } else {
      return absl::InternalError(absl::StrCat("transfer ", ticket_, ": the receiver sent kind ",
                                              static_cast<uint32_t>(head.kind), " with ", head.granted, " grants and ",
                                              head.landed, " acknowledgements after ", granted_, " and ", acked_));
    }
    return absl::OkStatus();
  }

  static uint32_t KindOf(const PayloadCarrier* carrier) {
    return carrier == nullptr ? 0 : static_cast<uint32_t>(LinkKindOf(carrier->kind()));
  }

  const GrpcLinkOptions options_;
  const uint64_t ticket_;
  grpc::GenericStub stub_;
  const uint32_t carried_by_;
  std::optional<grpc::ClientContext> context_;  // holds the call and what it has not sent; End lets it go
  grpc::ByteBuffer in_;
  const std::shared_ptr<Loans> loans_ = std::make_shared<Loans>();

  absl::Mutex mutex_;
  std::shared_ptr<TransferCall> self_;
  std::deque<grpc::ByteBuffer> out_ ABSL_GUARDED_BY(mutex_);  // opening and ends
  grpc::ByteBuffer current_ ABSL_GUARDED_BY(mutex_);
  std::vector<FrameHead> ahead_ ABSL_GUARDED_BY(mutex_);  // to be announced
  std::deque<Batch> batches_ ABSL_GUARDED_BY(mutex_);     // not sent
  uint64_t next_ ABSL_GUARDED_BY(mutex_) = 0;             // batches taken from the caller
  uint64_t granted_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t sent_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t acked_ ABSL_GUARDED_BY(mutex_) = 0;
  std::deque<int64_t> in_flight_ ABSL_GUARDED_BY(mutex_);  // bytes of each batch not acknowledged
  int64_t in_flight_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t payload_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t wire_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t carried_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::shared_ptr<PayloadCarrier> carrier_ ABSL_GUARDED_BY(mutex_);  // null once it failed this transfer
  std::unique_ptr<Passage> passage_ ABSL_GUARDED_BY(mutex_);         // while batches are carried
  std::deque<Batch> carried_ ABSL_GUARDED_BY(mutex_);                // and not acknowledged
  std::deque<std::string> slips_ ABSL_GUARDED_BY(mutex_);            // not sent
  uint64_t told_ ABSL_GUARDED_BY(mutex_) = 0;                        // the batch behind that of the last slip
  uint64_t age_ ABSL_GUARDED_BY(mutex_) = 0;                         // slips of an earlier one count for nothing
  bool opened_ ABSL_GUARDED_BY(mutex_) = false;
  bool committed_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;   // no message can be sent any more
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;  // End was called
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

class GrpcSender final : public FrameSender {
 public:
  explicit GrpcSender(std::shared_ptr<TransferCall> call) : call_(std::move(call)) {}
  ~GrpcSender() override { Abort(absl::AbortedError("the sender is gone")); }

  absl::Status Send(uint32_t layer, absl::Span<const ConstMemoryRef> parts, absl::Time deadline) override {
    DECANT_RETURN_IF_ERROR(end_);
    return OrEnd(call_->Send(layer, parts, deadline));
  }
  absl::Status Flush(absl::Time deadline) override {
    DECANT_RETURN_IF_ERROR(end_);
    return OrEnd(call_->Flush(deadline));
  }
  absl::Status Commit(TransferCommit commit, absl::Time deadline) override {
    DECANT_RETURN_IF_ERROR(end_);
    absl::Status committed = call_->Commit(commit, deadline);
    // The answer may come while the call is being ended for its lateness.
    if (!committed.ok()) call_->End(committed);
    if (call_->committed()) committed = absl::OkStatus();
    end_ = committed.ok() ? absl::FailedPreconditionError("the transfer is committed; open another one") : committed;
    return committed;
  }
  void Abort(const absl::Status& why) override {
    if (ended_) return;
    ended_ = true;
    call_->End(why);
    if (end_.ok()) end_ = why.ok() ? absl::AbortedError("the sender gave up") : why;
  }
  void Cancel() override { call_->Cancel(); }
  int64_t wire_bytes() const override { return call_->wire_bytes(); }
  Carried carried() const override { return call_->carried(); }

 private:
  absl::Status OrEnd(absl::Status status) {
    if (!status.ok()) Abort(status);
    return status;
  }

  const std::shared_ptr<TransferCall> call_;
  absl::Status end_;    // what every further call returns
  bool ended_ = false;  // the call is over
};

}  // namespace

GrpcLink::GrpcLink(Channels& channels, GrpcLinkOptions options) : channels_(channels), options_(options) {}

absl::StatusOr<std::unique_ptr<FrameSender>> GrpcLink::Open(const std::string& address, const TransferOpen& open,
                                                            absl::Time deadline) {
  auto carrier = options_.carriers == nullptr ? nullptr : options_.carriers->CarrierTo(address);
  auto call = std::make_shared<TransferCall>(channels_.Get(address), options_, open.ticket, std::move(carrier));
  if (absl::Status opened = call->Open(open, deadline); !opened.ok()) {
    call->End(opened);
    return opened;
  }
  return std::make_unique<GrpcSender>(std::move(call));
}

}  // namespace decant
