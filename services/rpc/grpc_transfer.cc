// The receiving end. Reads, finished writes and timers of one transfer become tasks that run one after another, so the
// sink sees ordered calls and no lock is held around them. After the task that ends the transfer no other does
// anything.
#include <grpcpp/alarm.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <memory>
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
#include "services/rpc/grpc_link.h"
#include "services/rpc/status_edge.h"

namespace decant {
namespace {

constexpr absl::Duration kFirstPause = absl::Milliseconds(1);
constexpr absl::Duration kLongestPause = absl::Milliseconds(20);
// The sender is told of grants and landings when less than this is on its way: seldom enough to cost little, early
// enough that its half window (GrpcLinkOptions) does not run dry.
constexpr int64_t kLowCredit = int64_t{3} << 20;
// What is carried is told of this often, because a carrier has less room than the window.
constexpr int64_t kCarriedCredit = int64_t{1} << 20;

BatchHeader ToBatch(const FrameHead& head) {
  return {head.sequence, head.layer, static_cast<int64_t>(head.bytes), head.crc32c};
}

class Transfer final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                       public std::enable_shared_from_this<Transfer> {
 public:
  Transfer(FrameSink& sink, const TransferServeOptions& options) : sink_(sink), options_(options) {}

  void Begin() {
    self_ = shared_from_this();
    progress_ = absl::Now();
    ArmIdle();
    StartRead(&in_);
  }

  void OnReadDone(bool ok) override {
    Post([this, ok] { Read(ok); });
  }
  void OnWriteDone(bool ok) override {
    Post([this, ok] { Written(ok); });
  }
  // While a commit waits for its answer no read is under way that would end with the call.
  void OnCancel() override {
    Post([this] {
      if (committing_ && !ended_) End(absl::CancelledError("the sender went away before its commit was answered"));
    });
  }
  void OnDone() override { self_.reset(); }

 private:
  struct Granted {
    BatchHeader header;
    MemoryRef memory;
  };

  // Runs `task` now, or leaves it to the thread that is running one.
  void Post(std::function<void()> task) {
    const std::shared_ptr<Transfer> alive = shared_from_this();
    {
      absl::MutexLock lock(&mutex_);
      tasks_.push_back(std::move(task));
      if (running_) return;
      running_ = true;
    }
    for (;;) {
      std::function<void()> next;
      {
        absl::MutexLock lock(&mutex_);
        if (tasks_.empty()) {
          running_ = false;
          return;
        }
        next = std::move(tasks_.front());
        tasks_.pop_front();
      }
      next();
    }
  }

  void Read(bool ok) {
    if (ended_) return;
    if (!ok) return End(absl::CancelledError("the sender went away before its commit"));
    progress_ = absl::Now();
    absl::StatusOr<FrameIn> message = FrameIn::Parse(in_);
    in_.Clear();
    const absl::Status taken = message.ok() ? Take(*message) : message.status();
    if (!taken.ok()) return End(taken);
    if (!ended_ && !committing_) StartRead(&in_);
  }

  absl::Status Take(const FrameIn& message) {
    const FrameHead& head = message.head();
    if (head.kind == FrameKind::kOpen && !opened_) return Open(message);
    if (!opened_) return absl::InvalidArgumentError("a transfer starts with KIND_OPEN");
    switch (head.kind) {
      case FrameKind::kAnnounce:
        return Announced(message);
      case FrameKind::kPayload:
        DECANT_RETURN_IF_ERROR(head.carried != 0 ? Fetch(message) : Land(message));
        return Announced(message);
      case FrameKind::kCommit:
        return Commit(message);
      case FrameKind::kAbort:
        return Abandoned(message);
      default:
        return absl::InvalidArgumentError(
            absl::StrCat("transfer ", ticket_, ": a sender does not send kind ", static_cast<uint32_t>(head.kind)));
    }
  }

  absl::Status Open(const FrameIn& message) {
    DECANT_ASSIGN_OR_RETURN(const std::string bytes, message.Payload());
    v1::TransferOpen proto;
    TransferOpen open;
    if (!proto.ParseFromString(bytes) || proto.model_fingerprint().size() != open.model_fingerprint.bytes.size()) {
      return absl::InvalidArgumentError("KIND_OPEN holds no TransferOpen with a fingerprint of 32 bytes");
    }
    open.ticket = proto.ticket();
    open.sender = proto.sender();
    open.frame_version = proto.frame_version();
    std::copy(proto.model_fingerprint().begin(), proto.model_fingerprint().end(), open.model_fingerprint.bytes.begin());
    DECANT_RETURN_IF_ERROR(sink_.Open(open));
    ticket_ = open.ticket;
    opened_ = true;
    Queue(FrameKind::kOpened);
    return absl::OkStatus();
  }

  absl::Status Announced(const FrameIn& message) {
    for (const FrameHead& head : message.ahead()) DECANT_RETURN_IF_ERROR(Announced(head));
    DECANT_RETURN_IF_ERROR(Grant());
    Pump();
    return absl::OkStatus();
  }
  absl::Status Announced(const FrameHead& head) {
    if (head.sequence != announced_) {
      return absl::InvalidArgumentError(
          absl::StrCat("transfer ", ticket_, ": batch ", head.sequence, " was announced instead of ", announced_));
    }
    if (head.bytes > static_cast<uint64_t>(options_.max_batch_bytes)) {
      return absl::InvalidArgumentError(absl::StrCat("transfer ", ticket_, ": batch ", head.sequence, " has ",
                                                     head.bytes, " bytes, more than ", options_.max_batch_bytes,
                                                     "; cut it into several"));
    }
    if (waiting_.size() + granted_.size() >= static_cast<size_t>(options_.window)) {
      return absl::ResourceExhaustedError(absl::StrCat("transfer ", ticket_, ": more than ", options_.window,
                                                       " batches announced at once; use a smaller window"));
    }
    ++announced_;
    waiting_.push_back(ToBatch(head));
    if (waiting_.size() == 1) grant_deadline_ = absl::Now() + options_.grant_limit;
    return absl::OkStatus();
  }

  // Asks for memory for every waiting batch, in order; when there is none now a timer asks again.
  absl::Status Grant() {
    while (!waiting_.empty() && grant_alarm_ == nullptr) {
      const BatchHeader& header = waiting_.front();
      absl::StatusOr<MemoryRef> memory = sink_.Grant(ticket_, header);
      if (absl::IsResourceExhausted(memory.status())) {
        if (absl::Now() >= grant_deadline_) {
          return absl::ResourceExhaustedError(
              absl::StrCat("transfer ", ticket_, ": no memory for batch ", header.sequence, " within ",
                           absl::FormatDuration(options_.grant_limit), ": ", memory.status().message()));
        }
        ArmGrant();
        return absl::OkStatus();
      }
      DECANT_RETURN_IF_ERROR(memory.status());
      const bool reachable = memory->space == MemorySpace::kHost || options_.mover != nullptr;
      if (!reachable || memory->bytes < header.bytes) {
        return absl::FailedPreconditionError(
            absl::StrCat("transfer ", ticket_, ": batch ", header.sequence, " of ", header.bytes, " bytes was granted ",
                         memory->bytes, " bytes of ", memory->space == MemorySpace::kHost ? "host" : "device",
                         " memory; this worker's links land in host memory of that size"));
      }
      granted_.push_back({header, {memory->space, memory->address, header.bytes}});
      ++granted_count_;
      granted_bytes_ += header.bytes;
      waiting_.pop_front();
      grant_deadline_ = absl::Now() + options_.grant_limit;
      pause_ = kFirstPause;
    }
    return absl::OkStatus();
  }

  // The next granted batches, one after another.
  absl::Status Land(const FrameIn& message) {
    const FrameHead& head = message.head();
    if (head.batches == 0 || head.batches > granted_.size() || head.sequence != landed_ || fetching_ > 0) {
      return absl::InvalidArgumentError(absl::StrCat("transfer ", ticket_, ": ", head.batches, " batches came from ",
                                                     head.sequence, " on when ", granted_.size(), " from ", landed_,
                                                     " on were granted"));
    }
    int64_t at = 0;
    for (uint64_t i = 0; i < head.batches; ++i) {
      const int64_t bytes = granted_.front().header.bytes;
      if (message.payload_bytes() - at < bytes) break;
      DECANT_ASSIGN_OR_RETURN(const uint32_t crc, CopyOut(message, at, granted_.front().memory));
      DECANT_RETURN_IF_ERROR(LandOne(crc, LinkKind::kGrpc));
      at += bytes;
    }
    if (landed_ == head.sequence + head.batches && at == message.payload_bytes()) return absl::OkStatus();
    return absl::DataLossError(absl::StrCat("transfer ", ticket_, ": ", head.batches, " batches from ", head.sequence,
                                            " on came with ", message.payload_bytes(),
                                            " bytes, not those that were announced"));
  }

  absl::StatusOr<uint32_t> CopyOut(const FrameIn& message, int64_t at, const MemoryRef& memory) {
    void* to = memory.address;
    std::vector<uint8_t> staging;
    if (memory.space != MemorySpace::kHost) {
      staging.resize(static_cast<size_t>(memory.bytes));
      to = staging.data();
    }
    uint32_t crc = 0;
    if (options_.checksums) {
      crc = message.CopyWithCrc(at, memory.bytes, to);
    } else {
      message.Copy(at, memory.bytes, to);
    }
    if (to != memory.address) {
      DECANT_RETURN_IF_ERROR(options_.mover->Copy(memory, {MemorySpace::kHost, to, memory.bytes}));
    }
    return crc;
  }
  // The next granted batch is in its memory and has `crc`.
  absl::Status LandOne(uint32_t crc, LinkKind link) {
    Granted batch = granted_.front();
    batch.header.link = link;
    if (options_.checksums && crc != batch.header.crc32c) {
      return absl::DataLossError(absl::StrCat("transfer ", ticket_, ": batch ", landed_, " has CRC-32C ",
                                              absl::Hex(crc), " instead of ", absl::Hex(batch.header.crc32c)));
    }
    DECANT_RETURN_IF_ERROR(sink_.Landed(ticket_, batch.header, batch.memory));
    granted_.pop_front();
    ++landed_;
    landed_bytes_ += batch.header.bytes;
    return absl::OkStatus();
  }

  // Has the next granted batches that are not being fetched fetched by their carrier.
  absl::Status Fetch(const FrameIn& message) {
    const FrameHead& head = message.head();
    if (inline_only_) return absl::OkStatus();  // sent before the sender knew
    const auto carriers = std::find_if(options_.carriers.begin(), options_.carriers.end(), [&](PayloadCarriers* c) {
      return head.carried == static_cast<uint32_t>(LinkKindOf(c->kind()));
    });
    if (carriers == options_.carriers.end() || head.batches == 0 || head.batches > granted_.size() - fetching_ ||
        head.sequence != landed_ + fetching_) {
      return absl::InvalidArgumentError(absl::StrCat("transfer ", ticket_, ": ", head.batches, " batches from ",
                                                     head.sequence, " on are carried by ", head.carried, " when ",
                                                     granted_.size(), " from ", landed_, " on were granted and ",
                                                     fetching_, " are being fetched"));
    }
    DECANT_ASSIGN_OR_RETURN(const std::string slips, message.Payload());
    ByteReader reader(slips);
    for (uint64_t i = 0; i < head.batches; ++i) {
      const absl::string_view slip = reader.GetString();
      if (!reader.ok()) break;
      FetchOne(**carriers, std::string(slip), static_cast<LinkKind>(head.carried));
    }
    if (reader.ok() && reader.rest().empty()) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("transfer ", ticket_, ": these are not the slips of ", head.batches, " batches"));
  }
  void FetchOne(PayloadCarriers& carriers, const std::string& slip, LinkKind link) {
    const MemoryRef memory = granted_[fetching_].memory;
    ++fetching_;
    const auto done = [self = shared_from_this(), memory, link](const PayloadCarriers::Arrival& arrival) {
      absl::StatusOr<uint32_t> crc = self->ChecksumOf(arrival, memory);
      self->Post([t = self.get(), crc = std::move(crc), link] { t->Fetched(crc, link); });
    };
    const auto wanted = options_.checksums ? PayloadCarriers::Checksum::kWanted : PayloadCarriers::Checksum::kNo;
    const absl::Status begun = carriers.Receive(slip, memory, wanted, absl::Now() + options_.carry_limit, done);
    if (!begun.ok()) Post([this, begun, link] { Fetched(begun, link); });
  }
  // On the carrier's thread.
  absl::StatusOr<uint32_t> ChecksumOf(const PayloadCarriers::Arrival& arrival, const MemoryRef& memory) const {
    DECANT_RETURN_IF_ERROR(arrival.status());
    if (!options_.checksums) return 0;
    if (arrival->has_value()) return **arrival;
    if (memory.space == MemorySpace::kHost) return Crc32c(memory.address, static_cast<size_t>(memory.bytes));
    return options_.mover->Checksum({memory.space, memory.address, memory.bytes}, 0);
  }
  // The oldest batch being fetched has come or is lost. After a loss nothing that was carried counts.
  void Fetched(const absl::StatusOr<uint32_t>& crc, LinkKind link) {
    --fetching_;
    if (ended_) {
      if (fetching_ > 0 || !end_.has_value()) return;
      const absl::Status why = *end_;
      end_.reset();
      return EndNow(why);
    }
    progress_ = absl::Now();
    inline_only_ = inline_only_ || !crc.ok();
    if (!inline_only_) {
      const int64_t bytes = granted_.front().header.bytes;
      if (absl::Status landed = LandOne(*crc, link); !landed.ok()) return End(landed);
      fetched_bytes_ += bytes;
      // The sender may wait for it before it goes on, or for room.
      tell_landed_ = tell_landed_ || fetching_ == 0 || fetched_bytes_ >= kCarriedCredit;
    }
    say_inline_ = inline_only_ && fetching_ == 0;
    Pump();
  }

  absl::Status Commit(const FrameIn& message) {
    DECANT_ASSIGN_OR_RETURN(const std::string bytes, message.Payload());
    v1::TransferCommit proto;
    if (!proto.ParseFromString(bytes)) return absl::InvalidArgumentError("KIND_COMMIT holds no TransferCommit");
    if (proto.ticket() != ticket_ || proto.batches() != landed_ || proto.payload_bytes() != landed_bytes_ ||
        announced_ != landed_) {
      return absl::DataLossError(absl::StrCat("transfer ", ticket_, ": the commit of ticket ", proto.ticket(),
                                              " counts ", proto.batches(), " batches of ", proto.payload_bytes(),
                                              " bytes, but ", announced_, " were announced and ", landed_, " of ",
                                              landed_bytes_, " bytes landed"));
    }
    TransferCommit commit;
    commit.ticket = ticket_;
    commit.batches = landed_;
    commit.prompt_tokens = proto.prompt_tokens();
    commit.first_token = proto.first_token();
    commit.prefix_tokens_reused = proto.prefix_tokens_reused();
    commit.tokens_computed = proto.tokens_computed();
    commit.payload_bytes = landed_bytes_;
    commit.finished = proto.finished();
    committing_ = true;  // the sink may answer later; the idle limit bounds the wait
    sink_.Committed(commit, [self = shared_from_this()](const absl::Status& status) {
      self->Post([t = self.get(), status] { t->CommitAnswered(status); });
    });
    return absl::OkStatus();
  }
  void CommitAnswered(const absl::Status& status) {
    if (ended_) return;
    if (!status.ok()) return End(status);
    ended_ = true;
    StopAlarms();
    Queue(FrameKind::kCommitted);
  }

  absl::Status Abandoned(const FrameIn& message) {
    const absl::StatusOr<std::string> reason = message.Payload();
    const absl::Status why(static_cast<absl::StatusCode>(message.head().sequence), reason.ok() ? *reason : "");
    return why.ok() ? absl::AbortedError("the sender gave up") : why;
  }

  // The one bad end: the sink hears of it once, the sender by the status of the call; not before nothing is written
  // into granted memory any more.
  void End(const absl::Status& why) {
    ended_ = true;
    StopAlarms();
    out_.clear();
    if (fetching_ == 0) return EndNow(why);
    end_ = why;
  }
  void EndNow(const absl::Status& why) {
    if (opened_) sink_.Aborted(ticket_, why);
    finished_ = true;
    Finish(ToGrpc(why));
  }

  void Queue(FrameKind kind) {
    FrameOut frame;
    frame.head.kind = kind;
    out_.push_back(EncodeFrame(frame));
    Pump();
  }
  // What to write next, if anything: the counts if they have changed, then an answer. Counts may wait while batches
  // that the sender knows to be granted are still to land, since each of those comes by here again.
  bool Next() {
    const bool changed = told_granted_ != granted_count_ || told_landed_ != landed_;
    const bool all_told_landed = told_granted_ == landed_;
    if (say_inline_ ||
        (changed && (all_told_landed || tell_landed_ || told_granted_bytes_ - landed_bytes_ < kLowCredit))) {
      FrameOut frame;
      frame.head.kind = told_granted_ != granted_count_ ? FrameKind::kGrant : FrameKind::kAck;
      if (say_inline_) frame.head.kind = FrameKind::kInline;
      say_inline_ = false;
      tell_landed_ = false;
      fetched_bytes_ = 0;
      frame.head.granted = told_granted_ = granted_count_;
      frame.head.landed = told_landed_ = landed_;
      told_granted_bytes_ = granted_bytes_;
      current_ = EncodeFrame(frame);
      return true;
    }
    if (out_.empty()) return false;
    current_ = std::move(out_.front());
    out_.pop_front();
    return true;
  }
  void Pump() {
    if (writing_ || finished_ || end_.has_value() || !Next()) return;
    writing_ = true;
    // COMMITTED is the last message.
    if (ended_ && out_.empty()) {
      finished_ = true;
      return StartWriteAndFinish(&current_, grpc::WriteOptions(), grpc::Status::OK);
    }
    StartWrite(&current_);
  }
  void Written(bool ok) {
    writing_ = false;
    current_.Clear();
    if (!ok) {
      out_.clear();
      const absl::Status gone = absl::CancelledError("the sender went away");
      if (!ended_) return End(gone);
      if (end_.has_value()) return;
      if (!finished_) Finish(ToGrpc(gone));  // committed, but the sender will not hear of it
      finished_ = true;
      return;
    }
    Pump();
  }

  void ArmIdle() {
    idle_alarm_ = std::make_unique<grpc::Alarm>();
    idle_alarm_->Set(ToGrpc(progress_ + options_.idle_limit), [self = shared_from_this()](bool fired) {
      if (fired) self->Post([t = self.get()] { t->CheckIdle(); });
    });
  }
  void CheckIdle() {
    if (ended_) return;
    if (absl::Now() < progress_ + options_.idle_limit) return ArmIdle();
    if (committing_) {
      return End(
          absl::DeadlineExceededError(absl::StrCat("transfer ", ticket_, ": the last batches were not taken in within ",
                                                   absl::FormatDuration(options_.idle_limit))));
    }
    End(absl::DeadlineExceededError(absl::StrCat("transfer ", ticket_, ": nothing came from the sender for ",
                                                 absl::FormatDuration(options_.idle_limit))));
  }
  void ArmGrant() {
    grant_alarm_ = std::make_unique<grpc::Alarm>();
    grant_alarm_->Set(ToGrpc(absl::Now() + pause_), [self = shared_from_this()](bool fired) {
      if (fired) self->Post([t = self.get()] { t->GrantAgain(); });
    });
    pause_ = std::min(2 * pause_, kLongestPause);
  }
  void GrantAgain() {
    if (ended_) return;
    grant_alarm_.reset();
    progress_ = absl::Now();  // the sender waits for us
    if (absl::Status granted = Grant(); !granted.ok()) return End(granted);
    Pump();
  }
  void StopAlarms() {
    idle_alarm_.reset();
    grant_alarm_.reset();
  }

  FrameSink& sink_;
  const TransferServeOptions options_;
  std::shared_ptr<Transfer> self_;

  absl::Mutex mutex_;
  std::deque<std::function<void()>> tasks_ ABSL_GUARDED_BY(mutex_);
  bool running_ ABSL_GUARDED_BY(mutex_) = false;

  // Used by tasks only.
  grpc::ByteBuffer in_;
  grpc::ByteBuffer current_;
  std::deque<grpc::ByteBuffer> out_;
  bool writing_ = false;
  bool opened_ = false;
  bool committing_ = false;  // the sink's answer to the commit is outstanding
  bool ended_ = false;       // committed or aborted
  bool finished_ = false;    // gRPC has the status
  uint64_t ticket_ = 0;
  uint64_t announced_ = 0;
  uint64_t granted_count_ = 0;
  int64_t granted_bytes_ = 0;
  uint64_t told_granted_ = 0;  // as the sender knows
  int64_t told_granted_bytes_ = 0;
  uint64_t landed_ = 0;
  uint64_t told_landed_ = 0;
  int64_t landed_bytes_ = 0;
  std::deque<BatchHeader> waiting_;  // announced, without memory
  std::deque<Granted> granted_;
  size_t fetching_ = 0;              // granted batches, from the first on, that carriers write to
  bool inline_only_ = false;         // a carrier failed
  bool say_inline_ = false;          // and the sender is to hear of it
  bool tell_landed_ = false;         // at once
  int64_t fetched_bytes_ = 0;        // that landed and the sender has not heard of
  std::optional<absl::Status> end_;  // the bad end, until carriers are done
  absl::Time progress_;
  absl::Time grant_deadline_;
  absl::Duration pause_ = kFirstPause;
  std::unique_ptr<grpc::Alarm> idle_alarm_;
  std::unique_ptr<grpc::Alarm> grant_alarm_;
};

}  // namespace

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* ServeTransfer(FrameSink& sink,
                                                                           TransferServeOptions options) {
  auto transfer = std::make_shared<Transfer>(sink, options);
  transfer->Begin();
  return transfer.get();
}

}  // namespace decant
