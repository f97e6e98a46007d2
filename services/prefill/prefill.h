// The core of a prefill worker: a bounded queue of prompts, computed one after another.
#ifndef DECANT_SERVICES_PREFILL_PREFILL_H_
#define DECANT_SERVICES_PREFILL_PREFILL_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "services/prefill/chunk_store.h"
#include "services/prefill/job.h"
#include "services/prefill/metrics.h"
#include "services/prefill/pass.h"
#include "services/prefill/publisher.h"
#include "services/rpc/log.h"

namespace decant {

struct PrefillCoreOptions {
  Digest model;        // fingerprint; prompts for any other are refused
  std::string sender;  // how this worker names itself to decode
  uint32_t frame_version = 0;
  Catalogue catalogue;
  const Tokenizer* tokenizer = nullptr;  // of replay instructions; must outlive the core
  int32_t waiting_limit = 16;
  int32_t finishing_limit = 4;  // transfers that may still be under way while the next prompt computes
  absl::Duration fetch_limit = absl::Seconds(5);
  absl::Duration open_limit = absl::Seconds(5);       // for decode to take a transfer; prompts behind it wait
  absl::Duration finishing_wait = absl::Seconds(10);  // for the oldest of too many transfers; then it is aborted
  absl::Duration publish_limit = absl::Seconds(60);
  int64_t publish_bytes = int64_t{64} << 20;  // held by publications at most; a larger one is cut to its first chunks
  OutboxOptions outbox;
  LayerGate* gate = nullptr;  // for tests
  std::function<absl::Time()> now = absl::Now;
  PrefillMetrics metrics;
};

struct PrefillLoad {
  int32_t running = 0;
  int32_t waiting = 0;
  double tokens_per_s = 0;        // of the last prompts; 0 = not measured yet
  double encode_bytes_per_s = 0;  // of full-precision bytes
  bool draining = false;
};

// Thread-safe.
class Prefill {
 public:
  // All references must outlive it.
  Prefill(const Weights& weights, FrameLink& link, ChunkSource& source, ChunkSink& sink, PrefillCoreOptions options);
  // Cancels what runs; every `done` has run when it returns.
  ~Prefill();
  Prefill(const Prefill&) = delete;
  Prefill& operator=(const Prefill&) = delete;

  // `done` runs once, when decode has committed or the transfer was aborted: RESOURCE_EXHAUSTED (the queue is full),
  // FAILED_PRECONDITION (another model), INVALID_ARGUMENT, UNAVAILABLE (draining, or decode is gone), CANCELLED,
  // DEADLINE_EXCEEDED, or what decode answered. The returned id is for Cancel.
  uint64_t Submit(PrefillJob job, std::function<void(absl::StatusOr<PrefillOutcome>)> done);
  // Stops at the next layer border and aborts the transfer.
  void Cancel(uint64_t id);

  PrefillLoad load() const;
  // Waits until what was computed so far is in the pool, at the latest at `limit`.
  void FlushPublications(absl::Time limit) { publisher_.Flush(limit); }
  // Refuses prompts, waits until those here have ended and chunks are published, at the latest at `limit`.
  void Drain(absl::Time limit);

 private:
  struct Active {
    uint64_t id = 0;
    PrefillJob job;
    std::function<void(absl::StatusOr<PrefillOutcome>)> done;
    std::atomic<bool> cancelled{false};
    std::unique_ptr<Pass> pass;
  };

  void Loop();
  void Compute(Active& active);
  void Finish(Active& active, const TransferEnd& end);
  void Answer(Active& active, absl::StatusOr<PrefillOutcome> outcome);
  void Reap(bool stopping);
  absl::Status Check(const PrefillJob& job) const;
  void Measure(const PrefillOutcome& outcome);
  PublisherOptions Publishing();
  void NoteAborted(const PrefillJob& job, const absl::Status& why);
  void NoteUnpublished(const PrefillJob& job, const PrefillOutcome& outcome);
  std::string WhyNotStored(const PrefillJob& job, int32_t chunk) const;

  const Weights& weights_;
  FrameLink& link_;
  ChunkSource& source_;
  const PrefillCoreOptions options_;
  BoundedLog publish_log_;
  BoundedLog abort_log_;
  Publisher publisher_;
  std::list<std::unique_ptr<Active>> finishing_;  // engine thread only

  mutable absl::Mutex mutex_;
  std::deque<std::unique_ptr<Active>> queue_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<uint64_t, Active*> active_ ABSL_GUARDED_BY(mutex_);  // queued, computing or finishing
  PrefillLoad load_ ABSL_GUARDED_BY(mutex_);
  uint64_t issued_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  // The first chunks that were left out of publications, the newest behind.
  std::deque<Digest> unpublished_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_PREFILL_PREFILL_H_
