// The signal's reaction writes to an eventfd, the one thing besides an atomic it may touch; waiting is a poll. The
// count is never read back, so every waiter sees the request.
#include "services/rpc/stop_signal.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <limits>

#include "absl/status/status.h"
#include "absl/time/clock.h"

namespace decant {
namespace {

std::atomic<int> stop_event{-1};
std::atomic<bool> stop_seen{false};

void Write(int event) {
  const uint64_t one = 1;
  const ssize_t written = write(event, &one, sizeof(one));
  static_cast<void>(written);  // the count can't overflow in a process's life
}

void React(int signal_number) {
  const int saved = errno;
  if (stop_seen.exchange(true)) {
    signal(signal_number, SIG_DFL);
    raise(signal_number);
  }
  Write(stop_event.load());
  errno = saved;
}

void SetReaction(void (*reaction)(int)) {
  struct sigaction action = {};
  action.sa_handler = reaction;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
}

}  // namespace

absl::StatusOr<std::unique_ptr<StopSignal>> StopSignal::Create() {
  const int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (event < 0) return absl::ErrnoToStatus(errno, "eventfd");
  int none = -1;
  if (!stop_event.compare_exchange_strong(none, event)) {
    close(event);
    return absl::AlreadyExistsError("this process waits for its stop signal elsewhere; keep one StopSignal");
  }
  stop_seen = false;
  SetReaction(&React);
  return std::unique_ptr<StopSignal>(new StopSignal(event));
}

StopSignal::~StopSignal() {
  SetReaction(SIG_DFL);
  stop_event = -1;
  close(event_);
}

bool StopSignal::Wait(absl::Time deadline) {
  for (;;) {
    const absl::Duration rest = std::max(absl::ZeroDuration(), deadline - absl::Now());
    const int64_t milliseconds = std::min<int64_t>(absl::ToInt64Milliseconds(absl::Ceil(rest, absl::Milliseconds(1))),
                                                   std::numeric_limits<int>::max());
    pollfd wait = {event_, POLLIN, 0};
    if (poll(&wait, 1, static_cast<int>(milliseconds)) > 0) return true;
    if (absl::Now() >= deadline) return false;
  }
}

void StopSignal::Request() { Write(event_); }

}  // namespace decant
