// The last word on how long a process may take to end.
#ifndef DECANT_SERVICES_RPC_EXIT_LIMIT_H_
#define DECANT_SERVICES_RPC_EXIT_LIMIT_H_

#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace decant {

// What a process may take beyond its drain limit to destroy what it is made of.
inline constexpr absl::Duration kExitGrace = absl::Seconds(3);

// While it lives, at most `limit`: then the process ends at once with status 1, whatever still waits for a peer that
// hangs. Nothing that is kept outlives the process, so nothing is lost that a client could still get.
class ExitLimit {
 public:
  explicit ExitLimit(absl::Duration limit);
  ~ExitLimit();
  ExitLimit(const ExitLimit&) = delete;
  ExitLimit& operator=(const ExitLimit&) = delete;

 private:
  absl::Mutex mutex_;
  bool over_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_RPC_EXIT_LIMIT_H_
