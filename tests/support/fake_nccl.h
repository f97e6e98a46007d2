// NCCL over socket pairs, inside one process, on any device, behaving as a test tells it to.
//
// Communicators are non-blocking, as decant asks NCCL for: operations answer kInProgress and end on threads of their
// own. A send ends when the receiver has read it, as large ones of NCCL do.
#ifndef DECANT_TESTS_SUPPORT_FAKE_NCCL_H_
#define DECANT_TESTS_SUPPORT_FAKE_NCCL_H_

#include <cstdint>
#include <map>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "gpu/link/nccl_functions.h"

namespace decant {

// What goes wrong. Applies to what begins after it was set.
struct NcclFaults {
  absl::Duration delay = absl::ZeroDuration();  // before every operation moves its first byte
  bool id_fails = false;
  bool join_fails = false;
  bool join_hangs = false;
  bool send_fails = false;   // the call itself
  bool send_hangs = false;   // after half of the bytes
  bool sender_dies = false;  // after half of the bytes: its end of the socket is closed
  bool bit_flips = false;    // in the middle of the bytes of every send
};

// Must outlive the communicators made by its functions. Thread-safe.
class FakeNccl {
 public:
  FakeNccl();
  ~FakeNccl();

  NcclFunctions functions();
  void Set(const NcclFaults& faults);
  // Made and not yet aborted; the most there have been at once; all that were made.
  int communicators();
  int most_communicators();
  int made();
  int64_t bytes_sent();

 private:
  struct Rendezvous;
  struct Communicator;

  NcclResult Join(NcclCommunicator* made, const NcclUniqueId& id, int rank);
  NcclResult Begin(Communicator& communicator, bool sends, void* memory, int64_t bytes, Stream& stream);
  NcclResult Abort(Communicator* communicator);

  absl::Mutex mutex_;
  NcclFaults faults_ ABSL_GUARDED_BY(mutex_);
  std::map<NcclUniqueId, std::shared_ptr<Rendezvous>> meetings_ ABSL_GUARDED_BY(mutex_);
  uint64_t ids_ ABSL_GUARDED_BY(mutex_) = 0;
  int live_ ABSL_GUARDED_BY(mutex_) = 0;
  int most_ ABSL_GUARDED_BY(mutex_) = 0;
  int made_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t sent_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace decant

#endif  // DECANT_TESTS_SUPPORT_FAKE_NCCL_H_
