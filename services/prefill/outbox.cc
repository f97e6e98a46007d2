#include "services/prefill/outbox.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace decant {
namespace {

constexpr absl::Duration kMoment = absl::Milliseconds(500);

}  // namespace

Outbox::Outbox(std::unique_ptr<FrameSender> sender, OutboxOptions options)
    : options_(options), sender_(std::move(sender)), thread_([this] { Loop(); }) {}

Outbox::~Outbox() {
  CutShort(absl::CancelledError("the transfer was given up"));
  thread_.join();
}

absl::Status Outbox::Add(std::vector<OutboxPiece> pieces, std::shared_ptr<const void> keep, absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  const auto room = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return !error_.ok() || queued_bytes_ < options_.queue_bytes;
  };
  if (!mutex_.AwaitWithTimeout(absl::Condition(&room), deadline - options_.now())) {
    return absl::DeadlineExceededError(absl::StrCat("the link did not take ", queued_bytes_, " bytes in time"));
  }
  if (!error_.ok()) return error_;
  for (OutboxPiece& piece : pieces) {
    queued_bytes_ += piece.bytes;
    queue_.push_back(Queued{std::move(piece), keep});
  }
  return absl::OkStatus();
}

bool Outbox::full() const {
  absl::MutexLock lock(&mutex_);
  return queued_bytes_ >= options_.queue_bytes;
}

void Outbox::Release() {
  absl::MutexLock lock(&mutex_);
  released_ = true;
}

void Outbox::Restart() {
  absl::MutexLock lock(&mutex_);
  queue_.clear();
  queued_bytes_ = 0;
}

void Outbox::Commit(const TransferCommit& commit, absl::Time deadline, std::function<void(const TransferEnd&)> done) {
  absl::Status error;
  {
    absl::MutexLock lock(&mutex_);
    if (!over_) {
      ending_ = Ending{commit, deadline, std::move(done)};
      return;
    }
    error = error_;
  }
  done(TransferEnd{error, 0, {}, absl::ZeroDuration()});
}

void Outbox::Abort(absl::Status why) {
  absl::MutexLock lock(&mutex_);
  if (error_.ok()) error_ = std::move(why);
}

void Outbox::CutShort(absl::Status why) {
  Abort(std::move(why));
  absl::MutexLock lock(&mutex_);
  if (!mutex_.AwaitWithTimeout(absl::Condition(&ended_), kMoment)) sender_->Cancel();
}

bool Outbox::ended() const {
  absl::MutexLock lock(&mutex_);
  return ended_;
}

bool Outbox::WaitEnded(absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  return mutex_.AwaitWithTimeout(absl::Condition(&ended_), deadline - options_.now());
}

void Outbox::Loop() {
  absl::Status status;
  while (status.ok()) {
    std::vector<Queued> batch;
    std::optional<TransferCommit> commit;
    absl::Time commit_deadline;
    {
      absl::MutexLock lock(&mutex_);
      const auto something = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
        return !error_.ok() || (released_ && (!queue_.empty() || ending_.has_value()));
      };
      mutex_.AwaitWithTimeout(absl::Condition(&something), options_.sign_of_life);
      status = error_;
      int64_t bytes = 0;
      while (status.ok() && released_ && !queue_.empty() &&
             (batch.empty() || bytes + queue_.front().piece.bytes <= options_.batch_bytes)) {
        bytes += queue_.front().piece.bytes;
        batch.push_back(std::move(queue_.front()));
        queue_.pop_front();
      }
      queued_bytes_ -= bytes;
      if (status.ok() && batch.empty() && released_ && ending_.has_value()) {
        commit = ending_->commit;
        commit_deadline = std::min(ending_->deadline, options_.now() + options_.commit_limit);
      }
    }
    if (!status.ok()) break;
    const absl::Time start = options_.now();
    status = commit.has_value() ? sender_->Commit(*commit, commit_deadline) : SendNext(std::move(batch));
    wire_ += options_.now() - start;
    if (commit.has_value() && status.ok()) {
      End(status);
      return;
    }
  }
  sender_->Abort(status);
  End(status);
}

absl::Status Outbox::SendNext(std::vector<Queued> batch) {
  std::vector<ConstMemoryRef> parts;
  for (Queued& queued : batch) {
    parts.insert(parts.end(), queued.piece.parts.begin(), queued.piece.parts.end());
    last_layer_ = queued.piece.layer;
    unacknowledged_size_ += queued.piece.bytes;
    if (unacknowledged_.empty() || unacknowledged_.back() != queued.keep) {
      unacknowledged_.push_back(std::move(queued.keep));
    }
  }
  const absl::Time deadline = options_.now() + options_.send_limit;
  DECANT_RETURN_IF_ERROR(sender_->Send(last_layer_, parts, deadline));
  if (unacknowledged_size_ < options_.unacknowledged_bytes) return absl::OkStatus();
  DECANT_RETURN_IF_ERROR(sender_->Flush(deadline));
  unacknowledged_.clear();
  unacknowledged_size_ = 0;
  return absl::OkStatus();
}

void Outbox::End(const absl::Status& status) {
  unacknowledged_.clear();
  std::optional<Ending> ending;
  {
    absl::MutexLock lock(&mutex_);
    if (error_.ok()) error_ = status.ok() ? absl::FailedPreconditionError("the transfer has ended") : status;
    ending = std::exchange(ending_, std::nullopt);
    queue_.clear();
    over_ = true;
  }
  if (ending.has_value()) ending->done(TransferEnd{status, sender_->wire_bytes(), sender_->carried(), wire_});
  absl::MutexLock lock(&mutex_);
  ended_ = true;
}

}  // namespace decant
