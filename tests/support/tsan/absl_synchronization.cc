// Debian's libabsl_synchronization is not instrumented, so the thread sanitiser sees nothing of what an absl::Mutex
// orders and would call every guarded member a race. Linked into every executable of the tsan preset, these stand in
// front of the library's own functions, tell the sanitiser what is handed over and call on. libgrpc's locks are absl's
// too, so what gRPC hands from thread to thread is seen as well.
#include <absl/synchronization/mutex.h>
#include <absl/synchronization/notification.h>
#include <sanitizer/tsan_interface.h>

#include "tests/support/tsan/next.h"

namespace {

// The lock under which the library evaluates conditions on this thread: a waiter evaluates its own, an unlocker those
// of the waiters.
thread_local void* g_evaluating_under = nullptr;

class Evaluating {
 public:
  explicit Evaluating(void* lock) : outer_(g_evaluating_under) { g_evaluating_under = lock; }
  ~Evaluating() { g_evaluating_under = outer_; }
  Evaluating(const Evaluating&) = delete;
  Evaluating& operator=(const Evaluating&) = delete;

 private:
  void* const outer_;
};

// Around a call that lets the lock go and takes it again.
class Waiting {
 public:
  explicit Waiting(void* lock) : lock_(lock), evaluating_(lock) { __tsan_release(lock); }
  ~Waiting() { __tsan_acquire(lock_); }
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;

 private:
  void* const lock_;
  const Evaluating evaluating_;
};

// What Notification stores last and HasBeenNotified reads first; it lies behind the notification's mutex.
void* Flag(const absl::Notification* notification) {
  return const_cast<char*>(reinterpret_cast<const char*>(notification)) + sizeof(absl::Mutex);
}

}  // namespace

#define NEXT(type, symbol) static const auto next = decant::Next<type>("_ZN4absl7debian3" symbol)
#define NEXT_CONST(type, symbol) static const auto next = decant::Next<type>("_ZNK4absl7debian3" symbol)

namespace absl {
ABSL_NAMESPACE_BEGIN

void Mutex::Lock() {
  NEXT(void (*)(Mutex*), "5Mutex4LockEv");
  next(this);
  __tsan_acquire(this);
}

void Mutex::ReaderLock() {
  NEXT(void (*)(Mutex*), "5Mutex10ReaderLockEv");
  next(this);
  __tsan_acquire(this);
}

bool Mutex::TryLock() {
  NEXT(bool (*)(Mutex*), "5Mutex7TryLockEv");
  const bool locked = next(this);
  if (locked) __tsan_acquire(this);
  return locked;
}

void Mutex::Unlock() {
  NEXT(void (*)(Mutex*), "5Mutex6UnlockEv");
  const Evaluating evaluating(this);
  __tsan_release(this);
  next(this);
}

void Mutex::ReaderUnlock() {
  NEXT(void (*)(Mutex*), "5Mutex12ReaderUnlockEv");
  const Evaluating evaluating(this);
  __tsan_release(this);
  next(this);
}

void Mutex::Await(const Condition& condition) {
  NEXT(void (*)(Mutex*, const Condition&), "5Mutex5AwaitERKNS0_9ConditionE");
  const Waiting waiting(this);
  next(this, condition);
}

bool Mutex::AwaitWithTimeout(const Condition& condition, Duration timeout) {
  NEXT(bool (*)(Mutex*, const Condition&, Duration), "5Mutex16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE");
  const Waiting waiting(this);
  return next(this, condition, timeout);
}

bool Mutex::AwaitWithDeadline(const Condition& condition, Time deadline) {
  NEXT(bool (*)(Mutex*, const Condition&, Time), "5Mutex17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE");
  const Waiting waiting(this);
  return next(this, condition, deadline);
}

bool Condition::Eval() const {
  NEXT_CONST(bool (*)(const Condition*), "9Condition4EvalEv");
  void* const lock = g_evaluating_under;
  if (lock == nullptr) return next(this);
  __tsan_acquire(lock);
  const bool holds = next(this);
  __tsan_release(lock);
  return holds;
}

void CondVar::Wait(Mutex* mutex) {
  NEXT(void (*)(CondVar*, Mutex*), "7CondVar4WaitEPNS0_5MutexE");
  const Waiting waiting(mutex);
  next(this, mutex);
}

bool CondVar::WaitWithTimeout(Mutex* mutex, Duration timeout) {
  NEXT(bool (*)(CondVar*, Mutex*, Duration), "7CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE");
  const Waiting waiting(mutex);
  return next(this, mutex, timeout);
}

bool CondVar::WaitWithDeadline(Mutex* mutex, Time deadline) {
  NEXT(bool (*)(CondVar*, Mutex*, Time), "7CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE");
  const Waiting waiting(mutex);
  return next(this, mutex, deadline);
}

void Notification::Notify() {
  NEXT(void (*)(Notification*), "12Notification6NotifyEv");
  __tsan_release(Flag(this));
  next(this);
}

void Notification::WaitForNotification() const {
  NEXT_CONST(void (*)(const Notification*), "12Notification19WaitForNotificationEv");
  next(this);
  __tsan_acquire(Flag(this));
}

bool Notification::WaitForNotificationWithTimeout(Duration timeout) const {
  NEXT_CONST(bool (*)(const Notification*, Duration), "12Notification30WaitForNotificationWithTimeoutENS0_8DurationE");
  const bool notified = next(this, timeout);
  if (notified) __tsan_acquire(Flag(this));
  return notified;
}

bool Notification::WaitForNotificationWithDeadline(Time deadline) const {
  NEXT_CONST(bool (*)(const Notification*, Time), "12Notification31WaitForNotificationWithDeadlineENS0_4TimeE");
  const bool notified = next(this, deadline);
  if (notified) __tsan_acquire(Flag(this));
  return notified;
}

ABSL_NAMESPACE_END
}  // namespace absl
