#include "services/router/event_loop.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/time/clock.h"

namespace decant {
namespace {

// Time that only grows: a clock that is set must not let every request expire.
absl::Time SteadyNow() {
  static const absl::Time begin = absl::Now();
  static const auto steady_begin = std::chrono::steady_clock::now();
  return begin + absl::FromChrono(std::chrono::steady_clock::now() - steady_begin);
}

}  // namespace

void EventLoop::Start(Hooks hooks) {
  hooks_ = std::move(hooks);
  thread_ = std::thread([this] { Run(); });
}

void EventLoop::Post(Event event) {
  absl::MutexLock lock(&mutex_);
  if (!stopping_) events_.push_back(std::move(event));
}

void EventLoop::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

void EventLoop::Run() {
  std::vector<Event> batch;
  while (true) {
    const absl::Duration wait = std::max(absl::ZeroDuration(), hooks_.next_deadline() - SteadyNow());
    {
      absl::MutexLock lock(&mutex_);
      mutex_.AwaitWithTimeout(absl::Condition(this, &EventLoop::Woken), wait);
      if (stopping_ && events_.empty()) return;
      std::swap(batch, events_);
    }
    for (const Event& event : batch) event(SteadyNow());
    batch.clear();
    const absl::Time now = SteadyNow();
    if (hooks_.next_deadline() <= now) hooks_.tick(now);
    hooks_.after();
  }
}

}  // namespace decant
