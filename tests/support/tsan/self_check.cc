// The thread sanitiser as the tsan preset sets it up: `guarded` must pass, `unguarded` must be reported.
#include <cstring>
#include <thread>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"

namespace {

struct Shared {
  absl::Mutex mutex;
  bool begun = false;
  int value = 0;
};

// Every way of the house to wait for another thread hands `value` or `left` over.
int Guarded() {
  Shared shared;
  absl::Notification end;
  int left = 0;
  std::thread other([&] {
    absl::MutexLock lock(&shared.mutex);
    shared.value = 1;
    shared.begun = true;
    const auto doubled = [&] { return shared.value == 2; };
    shared.mutex.AwaitWithTimeout(absl::Condition(&doubled), absl::Minutes(1));
    left = shared.value;
    end.Notify();
  });
  {
    absl::MutexLock lock(&shared.mutex);
    shared.mutex.Await(absl::Condition(&shared.begun));
    shared.value *= 2;
  }
  end.WaitForNotification();
  const bool handed_over = left == 2;
  other.join();
  return handed_over ? 0 : 1;
}

int Unguarded() {
  Shared shared;
  std::thread other([&] {
    { absl::MutexLock lock(&shared.mutex); }
    shared.value = 1;
  });
  shared.value = 2;
  other.join();
  return 0;
}

}  // namespace

int main(int argc, char** argv) { return argc > 1 && std::strcmp(argv[1], "unguarded") == 0 ? Unguarded() : Guarded(); }
