#include "common/link/loopback_link.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/base/crc32c.h"
#include "common/base/status_macros.h"

namespace decant {
namespace {

constexpr absl::Duration kFirstPause = absl::Milliseconds(1);
constexpr absl::Duration kLongestPause = absl::Milliseconds(20);

class LoopbackSender final : public FrameSender {
 public:
  LoopbackSender(FrameSink& sink, uint64_t ticket, const std::function<absl::Time()>& now,
                 const std::function<void(absl::Duration)>& wait)
      : sink_(sink), ticket_(ticket), now_(now), wait_(wait) {}
  ~LoopbackSender() override { Abort(absl::AbortedError("the sender is gone")); }

  absl::Status Send(uint32_t layer, absl::Span<const ConstMemoryRef> parts, absl::Time deadline) override {
    DECANT_RETURN_IF_ERROR(end_);
    if (committed_) return absl::FailedPreconditionError("the transfer is committed; open another one");
    absl::Status sent = Deliver(layer, parts, deadline);
    if (!sent.ok()) Abort(sent);
    return sent;
  }
  absl::Status Flush(absl::Time) override { return end_; }

  absl::Status Commit(TransferCommit commit, absl::Time deadline) override {
    DECANT_RETURN_IF_ERROR(end_);
    if (committed_) return absl::FailedPreconditionError("the transfer is committed already");
    commit.ticket = ticket_;
    commit.batches = sequence_;
    commit.payload_bytes = bytes_;
    absl::Status ended = AwaitCommit(commit, deadline);
    if (ended.ok()) {
      committed_ = true;
    } else {
      Abort(ended);
    }
    return ended;
  }
  void Abort(const absl::Status& why) override {
    if (committed_ || !end_.ok()) return;
    end_ = why.ok() ? absl::AbortedError("the sender gave up") : why;
    sink_.Aborted(ticket_, end_);
  }
  int64_t wire_bytes() const override { return bytes_; }

 private:
  absl::Status Late(absl::string_view what) const {
    return absl::DeadlineExceededError(absl::StrCat("transfer ", ticket_, " ran out of time at the ", what,
                                                    " of batch ", sequence_,
                                                    "; allow more time or free the receiver's memory"));
  }
  absl::Status AwaitCommit(const TransferCommit& commit, absl::Time deadline) {
    if (now_() >= deadline) return Late("commit");
    struct Answer {
      absl::Mutex mutex;
      std::optional<absl::Status> status ABSL_GUARDED_BY(mutex);
    };
    const auto answer = std::make_shared<Answer>();  // outlives this wait when the sink is late
    sink_.Committed(commit, [answer](const absl::Status& status) {
      absl::MutexLock lock(&answer->mutex);
      answer->status = status;
    });
    for (absl::Duration pause = kFirstPause;; pause = std::min(2 * pause, kLongestPause)) {
      {
        absl::MutexLock lock(&answer->mutex);
        if (answer->status.has_value()) return *answer->status;
      }
      const absl::Time time = now_();
      if (time >= deadline) return Late("commit");
      wait_(std::min(pause, deadline - time));
    }
  }
  absl::StatusOr<MemoryRef> Grant(const BatchHeader& header, absl::Time deadline) {
    for (absl::Duration pause = kFirstPause;; pause = std::min(2 * pause, kLongestPause)) {
      const absl::Time time = now_();
      if (time >= deadline) return Late("grant");
      absl::StatusOr<MemoryRef> memory = sink_.Grant(ticket_, header);
      if (!absl::IsResourceExhausted(memory.status())) return memory;
      wait_(std::min(pause, deadline - time));
    }
  }
  absl::Status Deliver(uint32_t layer, absl::Span<const ConstMemoryRef> parts, absl::Time deadline) {
    BatchHeader header{sequence_, layer, 0, 0};
    for (const ConstMemoryRef& part : parts) {
      if (part.space != MemorySpace::kHost) {
        return absl::InvalidArgumentError("the loopback link sends host memory only; copy the part to the host first");
      }
      header.bytes += part.bytes;
      header.crc32c = Crc32c(part.address, static_cast<size_t>(part.bytes), header.crc32c);
    }
    DECANT_ASSIGN_OR_RETURN(const MemoryRef memory, Grant(header, deadline));
    if (memory.space != MemorySpace::kHost || memory.bytes < header.bytes) {
      return absl::FailedPreconditionError(absl::StrCat("batch ", sequence_, " of ", header.bytes,
                                                        " bytes was granted ", memory.bytes, " bytes of ",
                                                        memory.space == MemorySpace::kHost ? "host" : "device",
                                                        " memory; the receiver must grant host memory of that size"));
    }
    auto* to = static_cast<uint8_t*>(memory.address);
    uint32_t crc = 0;
    for (const ConstMemoryRef& part : parts) {
      if (part.bytes == 0) continue;
      crc = CopyWithCrc32c(to, part.address, static_cast<size_t>(part.bytes), crc);
      to += part.bytes;
    }
    if (crc != header.crc32c) {
      return absl::DataLossError(absl::StrCat("batch ", sequence_, " has CRC-32C ", absl::Hex(crc), " instead of ",
                                              absl::Hex(header.crc32c), "; its parts changed while it was sent"));
    }
    header.link = LinkKind::kLoopback;
    DECANT_RETURN_IF_ERROR(sink_.Landed(ticket_, header, {MemorySpace::kHost, memory.address, header.bytes}));
    ++sequence_;
    bytes_ += header.bytes;
    return absl::OkStatus();
  }

  FrameSink& sink_;
  const uint64_t ticket_;
  const std::function<absl::Time()> now_;
  const std::function<void(absl::Duration)> wait_;
  uint64_t sequence_ = 0;
  int64_t bytes_ = 0;
  bool committed_ = false;
  absl::Status end_;  // why the transfer was aborted
};

}  // namespace

LoopbackLink::LoopbackLink(std::function<absl::Time()> now, std::function<void(absl::Duration)> wait)
    : now_(std::move(now)), wait_(std::move(wait)) {}

void LoopbackLink::Add(const std::string& address, FrameSink& sink) {
  absl::MutexLock lock(&mutex_);
  sinks_[address] = &sink;
}

void LoopbackLink::Remove(const std::string& address) {
  absl::MutexLock lock(&mutex_);
  sinks_.erase(address);
}

absl::StatusOr<std::unique_ptr<FrameSender>> LoopbackLink::Open(const std::string& address, const TransferOpen& open,
                                                                absl::Time deadline) {
  FrameSink* sink = nullptr;
  {
    absl::MutexLock lock(&mutex_);
    if (const auto found = sinks_.find(address); found != sinks_.end()) sink = found->second;
  }
  if (sink == nullptr) {
    return absl::UnavailableError(absl::StrCat("nothing in this process receives frames at ", address));
  }
  if (now_() >= deadline) {
    return absl::DeadlineExceededError(absl::StrCat("transfer ", open.ticket, " ran out of time before it was opened"));
  }
  DECANT_RETURN_IF_ERROR(sink->Open(open));
  return std::make_unique<LoopbackSender>(*sink, open.ticket, now_, wait_);
}

}  // namespace decant
