// A FrameSink that keeps what it receives and does what a test tells it to.
#ifndef DECANT_TESTS_SUPPORT_RECORDING_SINK_H_
#define DECANT_TESTS_SUPPORT_RECORDING_SINK_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/link/frame_link.h"

namespace decant {

struct ReceivedTransfer {
  TransferOpen open;
  std::vector<BatchHeader> headers;
  std::vector<std::string> batches;
  std::optional<TransferCommit> commit;
  int aborted = 0;
  absl::Status why;  // of the last abort
};

// Thread-safe. Set the reactions before the first transfer; they run before the sink's own work, and their error is the
// call's answer.
class RecordingSink final : public FrameSink {
 public:
  std::function<absl::Status(const TransferOpen&)> at_open;
  std::function<absl::Status(uint64_t ticket, const BatchHeader&)> at_grant;
  std::function<absl::Status(uint64_t ticket, const BatchHeader&)> at_landed;
  std::function<absl::Status(const TransferCommit&)> at_commit;
  // Called with the answer to every commit instead of giving it.
  std::function<void(std::function<void()> answer)> at_answer;
  int64_t grant_short_by = 0;  // bytes that every grant lacks

  absl::Status Open(const TransferOpen& open) override;
  absl::StatusOr<MemoryRef> Grant(uint64_t ticket, const BatchHeader& header) override;
  absl::Status Landed(uint64_t ticket, const BatchHeader& header, MemoryRef memory) override;
  void Committed(const TransferCommit& commit, std::function<void(const absl::Status&)> done) override;
  void Aborted(uint64_t ticket, const absl::Status& why) override;

  // What came for `ticket` so far; empty when it was never opened.
  ReceivedTransfer Received(uint64_t ticket);
  // Waits until the transfer is committed or aborted; false after `limit`.
  bool AwaitEnd(uint64_t ticket, absl::Duration limit = absl::Seconds(30));
  bool AwaitBatches(uint64_t ticket, size_t batches, absl::Duration limit = absl::Seconds(30));
  // Two calls of one transfer ran at the same time.
  bool overlapped();

 private:
  struct Slot {
    ReceivedTransfer received;
    std::map<uint64_t, std::unique_ptr<char[]>> granted;  // by sequence
    bool busy = false;
  };
  class Turn;  // marks a call of one transfer

  bool Await(uint64_t ticket, absl::Duration limit, const std::function<bool(const ReceivedTransfer&)>& reached);

  absl::Mutex mutex_;
  std::map<uint64_t, Slot> slots_ ABSL_GUARDED_BY(mutex_);
  bool overlapped_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace decant

#endif  // DECANT_TESTS_SUPPORT_RECORDING_SINK_H_
