// One NCCL communicator of two ranks: the sender is rank 0, the receiver rank 1.
//
// A thread of its own joins it and runs what is queued, in order. The first failure - an error, a lost peer, a deadline
// that has passed - aborts the communicator, and everything queued ends with that error: NCCL offers no way back from
// an operation whose peer does not come.
#ifndef DECANT_GPU_LINK_NCCL_CONNECTION_H_
#define DECANT_GPU_LINK_NCCL_CONNECTION_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/memory_ref.h"
#include "gpu/device/device.h"
#include "gpu/link/nccl_functions.h"

namespace decant {

struct NcclOptions {
  int most_connections = 8;  // communicators of this process
  absl::Duration join_limit = absl::Seconds(10);
  // Batches under way on one communicator; each has staging of that size on the device, for what is not one piece of
  // device memory. Larger batches are not carried.
  int depth = 4;
  int64_t batch_bytes = int64_t{4} << 20;
};

class NcclConnection {
 public:
  // Starts to join as `rank` of 2. RESOURCE_EXHAUSTED when the device has no room for the staging.
  static absl::StatusOr<std::unique_ptr<NcclConnection>> Start(const NcclFunctions& nccl, Device& device,
                                                               const NcclOptions& options, const NcclUniqueId& id,
                                                               int rank);
  ~NcclConnection();  // Stop

  // OK once joined; otherwise why not, DEADLINE_EXCEEDED when that is not known yet.
  absl::Status WaitJoined(absl::Time deadline);
  // Queues one batch of `bytes` in order. `begin` runs when it is about to start, `done` when the memory is not touched
  // any more; both on the connection's thread. Only `done` runs for what never starts. An error: neither will run.
  struct Batch {
    std::vector<ConstMemoryRef> parts;  // of a send, in order
    MemoryRef to;                       // of a receive
    int64_t bytes = 0;
    absl::Time deadline;
    std::function<void()> begin;
    std::function<void(const absl::Status&)> done;
  };
  absl::Status Post(Batch batch);

  // Fails everything with `why` unless it has failed already. Does not wait.
  void Break(const absl::Status& why);
  // The same, and waits until the communicator is gone and every `done` has run. Not from its callbacks.
  void Stop(const absl::Status& why);
  bool usable() const;
  bool evictable() const;  // broken, or joined with nothing queued or under way

 private:
  struct Running {
    Batch batch;
    int slot = 0;
    std::unique_ptr<Event> end;
  };

  NcclConnection(const NcclFunctions& nccl, Device& device, const NcclOptions& options, int rank, Buffer staging);
  void Loop(const NcclUniqueId& id);
  absl::Status Join(const NcclUniqueId& id);
  absl::Status RunQueue();
  absl::Status Begin(Running& running);
  absl::Status Enqueue(const Running& running);
  absl::Status Ended(Running& running, bool& ended);
  absl::Status Deliver(const Running& running);
  // Waits until the last call has an outcome.
  absl::Status Settle(NcclResult result, absl::Time deadline, const char* what);
  absl::Status Failed(NcclResult result, const char* what) const;
  uint8_t* Slot(int slot) const { return staging_.As<uint8_t>(slot * options_.batch_bytes); }

  const NcclFunctions& nccl_;
  const NcclOptions options_;
  const int rank_;
  Buffer staging_;                           // let go, as the streams, when the communicator is gone
  std::unique_ptr<Stream> stream_;           // NCCL's operations
  std::unique_ptr<Stream> copies_;           // what has been received, to the host
  NcclCommunicator communicator_ = nullptr;  // the connection's thread only, as what follows
  std::deque<Running> running_;
  int next_slot_ = 0;

  mutable absl::Mutex mutex_;
  std::deque<Batch> queue_ ABSL_GUARDED_BY(mutex_);
  int unfinished_ ABSL_GUARDED_BY(mutex_) = 0;
  bool joined_ ABSL_GUARDED_BY(mutex_) = false;
  bool over_ ABSL_GUARDED_BY(mutex_) = false;  // the communicator is gone
  absl::Status broken_ ABSL_GUARDED_BY(mutex_);
  absl::Mutex stop_mutex_;  // one caller joins the thread
  std::thread thread_ ABSL_GUARDED_BY(stop_mutex_);
};

}  // namespace decant

#endif  // DECANT_GPU_LINK_NCCL_CONNECTION_H_
