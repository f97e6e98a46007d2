#include "services/pool/events_rpc.h"

#include <grpcpp/support/server_callback.h>

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/status_macros.h"
#include "services/pool/hints_rpc.h"
#include "services/rpc/status_edge.h"
#include "services/rpc/worker_rpc.h"

namespace decant {
namespace {

constexpr size_t kBatchEvents = 512;
constexpr absl::Duration kLookForStop = absl::Milliseconds(200);

void Fill(const ChunkEvent& event, v1::ChunkEvent& proto) {
  proto.set_kind(static_cast<v1::ChunkEvent::Kind>(event.kind));
  proto.set_sequence(event.sequence);
  proto.set_tier(static_cast<v1::StorageTier>(event.tier));
  proto.set_key(DigestBytes(event.key));
  proto.set_parent(DigestBytes(event.parent));
  proto.set_variant(DigestBytes(event.variant));
  if (event.kind == ChunkEventKind::kMoved) proto.set_becomes(DigestBytes(event.becomes));
  proto.set_first_token(event.first_token);
  proto.set_tokens(event.tokens);
}

}  // namespace

class EventStreams::Stream final : public grpc::ServerWriteReactor<v1::EventBatch> {
 public:
  Stream(EventStreams& owner, EventCursor cursor) : owner_(owner), cursor_(std::move(cursor)) {}

  // Writes the next batch unless one is on its way or there is none.
  void Pump() {
    absl::MutexLock lock(&mutex_);
    PumpLocked();
  }
  void End(const absl::Status& status) {
    absl::MutexLock lock(&mutex_);
    EndLocked(status);
  }

  void OnWriteDone(bool ok) override {
    absl::MutexLock lock(&mutex_);
    writing_ = false;
    if (!ok) {
      EndLocked(absl::CancelledError("the client is gone"));
    } else if (end_.has_value()) {
      Finish(ToGrpc(*end_));
    } else {
      PumpLocked();
    }
  }
  void OnCancel() override { End(absl::CancelledError("the client is gone")); }
  void OnDone() override {
    owner_.Forget(this);
    delete this;
  }

 private:
  void EndLocked(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (end_.has_value()) return;
    end_ = status;
    if (!writing_) Finish(ToGrpc(status));
  }
  void PumpLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    while (!writing_ && !end_.has_value()) {
      const absl::StatusOr<EventPage> page = owner_.pool_->With(
          [&](Pool& pool, absl::Time) ABSL_NO_THREAD_SAFETY_ANALYSIS { return pool.Events(cursor_, kBatchEvents); });
      if (!page.ok()) {
        EndLocked(page.status());
        return;
      }
      if (page->events.empty() && !page->complete) {
        if (!page->more) return;
        continue;
      }
      batch_.Clear();
      batch_.set_run(owner_.run_);
      batch_.set_snapshot(page->snapshot);
      batch_.set_complete(page->complete);
      if (!page->snapshot || page->complete) batch_.set_next(*cursor_.after);
      for (const ChunkEvent& event : page->events) Fill(event, *batch_.add_events());
      writing_ = true;
      StartWrite(&batch_);
    }
  }

  EventStreams& owner_;
  absl::Mutex mutex_;
  EventCursor cursor_ ABSL_GUARDED_BY(mutex_);
  v1::EventBatch batch_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);
};

EventStreams::EventStreams(std::shared_ptr<SharedPool> pool, size_t most_streams)
    : pool_(std::move(pool)),
      most_streams_(most_streams),
      run_(static_cast<uint64_t>(absl::ToUnixNanos(absl::Now()))),
      thread_([this] { Loop(); }) {}

EventStreams::~EventStreams() {
  {
    absl::MutexLock lock(&mutex_);
    stopped_ = true;
  }
  thread_.join();
}

void EventStreams::Loop() {
  for (uint64_t seen = 0;;) {
    const uint64_t now = pool_->AwaitEvents(seen, kLookForStop);
    absl::MutexLock lock(&mutex_);
    if (stopped_) return;
    if (now == std::exchange(seen, now)) continue;
    for (Stream* stream : streams_) stream->Pump();
  }
}

absl::Status EventStreams::Admit(const v1::EventsRequest& request) {
  DECANT_RETURN_IF_ERROR(CheckTenant(request.tenant()));
  if (ended_) return absl::UnavailableError("this pool is shutting down");
  if (request.run() != 0 && request.run() != run_) {
    return absl::OutOfRangeError("these numbers are of another life of the pool; ask again with run 0");
  }
  if (streams_.size() >= most_streams_) {
    return absl::ResourceExhaustedError(
        absl::StrCat(most_streams_, " streams of events are open, the most there may be"));
  }
  return absl::OkStatus();
}

grpc::ServerWriteReactor<v1::EventBatch>* EventStreams::Follow(const v1::EventsRequest& request) {
  EventCursor cursor;
  cursor.tenant = request.tenant();
  if (request.run() != 0) {
    cursor.snapshot = false;
    cursor.after = request.after();
  }
  auto* const stream = new Stream(*this, std::move(cursor));
  absl::MutexLock lock(&mutex_);
  const absl::Status admitted = Admit(request);
  if (admitted.ok()) {
    streams_.insert(stream);
    stream->Pump();
  } else {
    stream->End(admitted);
  }
  return stream;
}

void EventStreams::Forget(Stream* stream) {
  absl::MutexLock lock(&mutex_);
  streams_.erase(stream);
}

void EventStreams::EndAll() {
  absl::MutexLock lock(&mutex_);
  ended_ = true;
  for (Stream* stream : streams_) stream->End(absl::UnavailableError("this pool is shutting down"));
}

}  // namespace decant
