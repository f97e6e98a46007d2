#include "gpu/link/nccl_connection.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/status_macros.h"

namespace decant {
namespace {

// NCCL tells nobody when something has happened, so it is asked: at once, then with growing pauses.
constexpr absl::Duration kFirstPause = absl::Microseconds(10);
constexpr absl::Duration kLongestPause = absl::Microseconds(500);

class Pause {
 public:
  void Take() {
    absl::SleepFor(pause_);
    pause_ = std::min(2 * pause_, kLongestPause);
  }
  void Reset() { pause_ = kFirstPause; }

 private:
  absl::Duration pause_ = kFirstPause;
};

}  // namespace

absl::StatusOr<std::unique_ptr<NcclConnection>> NcclConnection::Start(const NcclFunctions& nccl, Device& device,
                                                                      const NcclOptions& options,
                                                                      const NcclUniqueId& id, int rank) {
  DECANT_ASSIGN_OR_RETURN(Buffer staging, device.Allocate(options.depth * options.batch_bytes));
  auto connection =
      std::unique_ptr<NcclConnection>(new NcclConnection(nccl, device, options, rank, std::move(staging)));
  absl::MutexLock lock(&connection->stop_mutex_);
  connection->thread_ = std::thread([c = connection.get(), id] { c->Loop(id); });
  return connection;
}

NcclConnection::NcclConnection(const NcclFunctions& nccl, Device& device, const NcclOptions& options, int rank,
                               Buffer staging)
    : nccl_(nccl),
      options_(options),
      rank_(rank),
      staging_(std::move(staging)),
      stream_(device.NewStream()),
      copies_(device.NewStream()) {}

NcclConnection::~NcclConnection() { Stop(absl::CancelledError("the connection is closed")); }

absl::Status NcclConnection::WaitJoined(absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  const auto known = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return joined_ || !broken_.ok(); };
  if (!mutex_.AwaitWithDeadline(absl::Condition(&known), deadline)) {
    return absl::DeadlineExceededError("the other rank did not join the communicator in time");
  }
  return broken_;
}

absl::Status NcclConnection::Post(Batch batch) {
  absl::MutexLock lock(&mutex_);
  if (over_ || !broken_.ok()) return broken_;
  ++unfinished_;
  queue_.push_back(std::move(batch));
  return absl::OkStatus();
}

void NcclConnection::Break(const absl::Status& why) {
  absl::MutexLock lock(&mutex_);
  if (broken_.ok()) broken_ = why;
}

void NcclConnection::Stop(const absl::Status& why) {
  Break(why);
  absl::MutexLock lock(&stop_mutex_);
  if (thread_.joinable()) thread_.join();
}

bool NcclConnection::usable() const {
  absl::MutexLock lock(&mutex_);
  return joined_ && broken_.ok();
}

bool NcclConnection::evictable() const {
  absl::MutexLock lock(&mutex_);
  return !broken_.ok() || (joined_ && unfinished_ == 0);
}

void NcclConnection::Loop(const NcclUniqueId& id) {
  absl::Status why = Join(id);
  if (why.ok()) why = RunQueue();
  Break(why);
  // Only after the abort does nothing touch the memory of what was under way.
  if (communicator_ != nullptr) (void)nccl_.abort(communicator_);
  (void)stream_->Synchronize();
  std::deque<Batch> rest;
  {
    absl::MutexLock lock(&mutex_);
    why = broken_;
    over_ = true;
    rest.swap(queue_);
  }
  for (Running& running : running_) rest.push_front(std::move(running.batch));
  running_.clear();
  for (const Batch& batch : rest) batch.done(why);
  copies_.reset();
  stream_.reset();
  staging_ = Buffer();
  absl::MutexLock lock(&mutex_);
  unfinished_ = 0;
}

absl::Status NcclConnection::Join(const NcclUniqueId& id) {
  const absl::Time deadline = absl::Now() + options_.join_limit;
  const NcclResult started = nccl_.init(&communicator_, 2, id, rank_);
  DECANT_RETURN_IF_ERROR(Settle(started, deadline, "joining the communicator"));
  absl::MutexLock lock(&mutex_);
  joined_ = true;
  return broken_;
}

absl::Status NcclConnection::Failed(NcclResult result, const char* what) const {
  return absl::UnavailableError(absl::StrCat("NCCL: ", what, " failed: ", nccl_.error_text(result)));
}

absl::Status NcclConnection::Settle(NcclResult result, absl::Time deadline, const char* what) {
  for (Pause pause; result == NcclResult::kInProgress; pause.Take()) {
    {
      absl::MutexLock lock(&mutex_);
      DECANT_RETURN_IF_ERROR(broken_);
    }
    if (const NcclResult asked = nccl_.async_error(communicator_, &result); asked != NcclResult::kSuccess) {
      return Failed(asked, what);
    }
    if (result == NcclResult::kInProgress && absl::Now() >= deadline) {
      return absl::DeadlineExceededError(absl::StrCat("NCCL: ", what, " took too long; is the other worker alive?"));
    }
  }
  return result == NcclResult::kSuccess ? absl::OkStatus() : Failed(result, what);
}

// Returns when the connection has failed or is to end.
absl::Status NcclConnection::RunQueue() {
  for (Pause pause;;) {
    bool took = false;
    {
      absl::MutexLock lock(&mutex_);
      if (running_.empty()) {
        const auto something = [this]()
                                   ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !queue_.empty() || !broken_.ok(); };
        mutex_.Await(absl::Condition(&something));
      }
      DECANT_RETURN_IF_ERROR(broken_);
      if (!queue_.empty() && running_.size() < static_cast<size_t>(options_.depth)) {
        running_.push_back(Running{std::move(queue_.front()), next_slot_, nullptr});
        queue_.pop_front();
        took = true;
      }
    }
    if (took) {
      next_slot_ = (next_slot_ + 1) % options_.depth;
      DECANT_RETURN_IF_ERROR(Begin(running_.back()));
      pause.Reset();
    }
    bool ended = false;
    DECANT_RETURN_IF_ERROR(Ended(running_.front(), ended));
    if (ended) {
      DECANT_RETURN_IF_ERROR(Deliver(running_.front()));
      Batch batch = std::move(running_.front().batch);
      running_.pop_front();
      batch.done(absl::OkStatus());
      absl::MutexLock lock(&mutex_);
      --unfinished_;
    } else if (!took) {
      pause.Take();
    }
  }
}

absl::Status NcclConnection::Begin(Running& running) {
  if (running.batch.begin) running.batch.begin();
  DECANT_RETURN_IF_ERROR(Enqueue(running));
  running.end = stream_->Record();
  return absl::OkStatus();
}

// One piece of device memory goes as it is; anything else is gathered on the device first, or scattered from there.
absl::Status NcclConnection::Enqueue(const Running& running) {
  const Batch& batch = running.batch;
  if (rank_ == 0) {
    const bool whole = batch.parts.size() == 1 && batch.parts[0].space == MemorySpace::kDevice;
    const void* from = whole ? batch.parts[0].address : Slot(running.slot);
    int64_t at = 0;
    for (const ConstMemoryRef& part : batch.parts) {
      if (!whole) stream_->Copy(Slot(running.slot) + at, part.address, part.bytes);
      at += part.bytes;
    }
    return Settle(nccl_.send(from, batch.bytes, 1, communicator_, *stream_), batch.deadline, "sending a batch");
  }
  const bool whole = batch.to.space == MemorySpace::kDevice;
  void* const to = whole ? batch.to.address : Slot(running.slot);
  const NcclResult started = nccl_.receive(to, batch.bytes, 0, communicator_, *stream_);
  return Settle(started, batch.deadline, "receiving a batch");
}

// On a stream of its own: on NCCL's the copy would wait for whatever was begun since, and for how long is up to the
// peer.
absl::Status NcclConnection::Deliver(const Running& running) {
  const MemoryRef& to = running.batch.to;
  if (rank_ == 0 || to.space == MemorySpace::kDevice) return absl::OkStatus();
  copies_->Copy(to.address, Slot(running.slot), running.batch.bytes);
  return copies_->Synchronize();
}

absl::Status NcclConnection::Ended(Running& running, bool& ended) {
  NcclResult state = NcclResult::kSuccess;
  const NcclResult asked = nccl_.async_error(communicator_, &state);
  if (asked != NcclResult::kSuccess) return Failed(asked, "a batch");
  if (state != NcclResult::kSuccess && state != NcclResult::kInProgress) return Failed(state, "a batch");
  ended = running.end->Ready();
  if (!ended && absl::Now() >= running.batch.deadline) {
    return absl::DeadlineExceededError("NCCL: a batch took too long; is the other worker alive?");
  }
  return absl::OkStatus();
}

}  // namespace decant
