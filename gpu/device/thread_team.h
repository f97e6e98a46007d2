// A few threads that share loops with very little delay between them.
#ifndef DECANT_GPU_DEVICE_THREAD_TEAM_H_
#define DECANT_GPU_DEVICE_THREAD_TEAM_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

namespace decant {

// Idle threads spin for some tens of microseconds, the time between two operations of a step, and then sleep. Indices
// are claimed one by one, so that a thread that the system has put aside delays nobody. Thread-safe: one loop at a time
// has the team, a loop that finds it taken (by another stream, or by the loop around it) runs on its own thread.
class ThreadTeam {
 public:
  using Body = std::function<void(int64_t index, int thread)>;

  // `threads` >= 1 includes the calling thread.
  explicit ThreadTeam(int threads);
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }
  // body(index, thread) for index in [0, count); returns when all are done. thread is below threads() and differs
  // between bodies that run at the same time in one loop.
  void Run(int64_t count, const Body& body);

 private:
  void Work(int thread);
  // Claims and runs indices of the loop of `generation` until none is left; false if there was none.
  bool Drain(int thread);

  // Generation (upper 32 bits) and next index (lower 32). A closed ticket has the index kClosed: the fields below may
  // change only then, which is what keeps a late thread from claiming with the fields of another loop.
  std::atomic<uint64_t> ticket_;
  std::atomic<int64_t> count_{0};
  std::atomic<const Body*> body_{nullptr};
  std::atomic<int64_t> remaining_{0};
  std::atomic<uint32_t> epoch_{0};  // what sleeping threads wait on
  std::atomic<bool> taken_{false};
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> workers_;
};

}  // namespace decant

#endif  // DECANT_GPU_DEVICE_THREAD_TEAM_H_
