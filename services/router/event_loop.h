// The one thread of the router's core.
#ifndef DECANT_SERVICES_ROUTER_EVENT_LOOP_H_
#define DECANT_SERVICES_ROUTER_EVENT_LOOP_H_

#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace decant {

// Runs events one after another, in the order of Post, and `tick` whenever the time that `next_deadline` names has
// come. The queue is bounded by its users: each has a bounded number of calls under way. Thread-safe.
class EventLoop {
 public:
  using Event = std::function<void(absl::Time now)>;

  struct Hooks {
    std::function<absl::Time()> next_deadline;  // all on the loop's thread
    Event tick;
    std::function<void()> after;  // every run of events
  };

  EventLoop() = default;
  ~EventLoop() { Stop(); }
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  void Start(Hooks hooks);  // once
  void Post(Event event);   // dropped after Stop
  // Runs what was posted, then ends the thread. Not from an event.
  void Stop();

 private:
  void Run();
  bool Woken() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !events_.empty() || stopping_; }

  Hooks hooks_;
  absl::Mutex mutex_;
  std::vector<Event> events_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_ROUTER_EVENT_LOOP_H_
