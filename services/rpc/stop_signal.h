// SIGTERM and SIGINT as something to wait for.
#ifndef DECANT_SERVICES_RPC_STOP_SIGNAL_H_
#define DECANT_SERVICES_RPC_STOP_SIGNAL_H_

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include <memory>

namespace decant {

// Owns the process's reaction to SIGTERM and SIGINT while it lives; there is at most one. A second signal ends the
// process at once with its usual exit status, so that a drain that hangs can be left with Ctrl-C.
//
//   DECANT_ASSIGN_OR_RETURN(auto stop, StopSignal::Create());
//   ... start servers ...
//   stop->Wait();
//   for (auto& server : servers) server->Drain();
class StopSignal {
 public:
  // ALREADY_EXISTS while another lives.
  static absl::StatusOr<std::unique_ptr<StopSignal>> Create();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  // Returns true when a signal came or Request was called, false at the deadline. Any thread.
  bool Wait(absl::Time deadline = absl::InfiniteFuture());
  // The same as a signal, from inside.
  void Request();

 private:
  explicit StopSignal(int event) : event_(event) {}
  int event_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_RPC_STOP_SIGNAL_H_
