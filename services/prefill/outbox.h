// Sends the layers of one prompt beside the computation of the next ones.
#ifndef DECANT_SERVICES_PREFILL_OUTBOX_H_
#define DECANT_SERVICES_PREFILL_OUTBOX_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/link/frame_link.h"

namespace decant {

// What may not be cut: a chunk's frame and overlay.
struct OutboxPiece {
  uint32_t layer = 0;
  std::vector<ConstMemoryRef> parts;
  int64_t bytes = 0;
};

struct OutboxOptions {
  int64_t batch_bytes = int64_t{1} << 20;            // pieces are gathered up to this, but never waited for
  int64_t queue_bytes = int64_t{32} << 20;           // Add waits beyond
  int64_t unacknowledged_bytes = int64_t{16} << 20;  // sent memory that is kept until the receiver has acknowledged it
  absl::Duration send_limit = absl::Seconds(10);     // for one batch to find its way
  absl::Duration commit_limit = absl::Seconds(10);   // for the commit, from when it is sent
  // While there is nothing to send, an empty batch this often says that the sender is alive and computing.
  absl::Duration sign_of_life = absl::Milliseconds(1500);
  std::function<absl::Time()> now = absl::Now;
};

struct TransferEnd {
  absl::Status status;
  int64_t wire_bytes = 0;
  FrameSender::Carried carried;  // of them
  absl::Duration wire;           // spent inside the link
};

// Owned by one thread, which calls everything; sends on a thread of its own.
class Outbox {
 public:
  // Sends nothing before Release, which lets a caller forget what it has added and start again.
  Outbox(std::unique_ptr<FrameSender> sender, OutboxOptions options);
  // Aborts the transfer unless it has committed, and cuts a send under way short.
  ~Outbox();
  Outbox(const Outbox&) = delete;
  Outbox& operator=(const Outbox&) = delete;

  // Queues pieces whose memory `keep` owns. Waits while the queue is full. An error is the end of the transfer.
  absl::Status Add(std::vector<OutboxPiece> pieces, std::shared_ptr<const void> keep, absl::Time deadline);
  bool full() const;
  void Release();
  void Restart();  // REQUIRES: not released

  // Ends the transfer for good, one way or the other, at the latest `commit_limit` after the last batch; `done` runs
  // once on the outbox's thread. REQUIRES: released.
  void Commit(const TransferCommit& commit, absl::Time deadline, std::function<void(const TransferEnd&)> done);
  // The same without the good way. A send under way ends first.
  void Abort(absl::Status why);
  // Abort that cuts a send under way short, when decode does not hear of `why` within a moment.
  void CutShort(absl::Status why);
  // After `done` has run, or the abort was carried out.
  bool ended() const;
  // False when that was not the case before `deadline`.
  bool WaitEnded(absl::Time deadline);

 private:
  struct Queued {
    OutboxPiece piece;
    std::shared_ptr<const void> keep;
  };
  struct Ending {
    TransferCommit commit;
    absl::Time deadline;
    std::function<void(const TransferEnd&)> done;
  };
  void Loop();
  absl::Status SendNext(std::vector<Queued> batch);
  void End(const absl::Status& status);

  const OutboxOptions options_;
  const std::unique_ptr<FrameSender> sender_;  // outbox's thread only
  std::vector<std::shared_ptr<const void>> unacknowledged_;
  int64_t unacknowledged_size_ = 0;
  absl::Duration wire_;
  uint32_t last_layer_ = 0;

  mutable absl::Mutex mutex_;
  std::deque<Queued> queue_ ABSL_GUARDED_BY(mutex_);
  int64_t queued_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool released_ ABSL_GUARDED_BY(mutex_) = false;
  bool over_ ABSL_GUARDED_BY(mutex_) = false;   // nothing more will be sent
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;  // and `done` has run
  absl::Status error_ ABSL_GUARDED_BY(mutex_);  // of the link, or the abort
  std::optional<Ending> ending_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_PREFILL_OUTBOX_H_
