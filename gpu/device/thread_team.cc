#include "gpu/device/thread_team.h"

#include <chrono>

#include "common/base/check.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace decant {
namespace {

constexpr uint64_t kClosed = uint64_t{1} << 31;
constexpr uint64_t kIndexMask = 0xffffffffu;
// Longer than the gap between two operations of a decode step, shorter than anything a neighbour would notice.
constexpr std::chrono::microseconds kSpin{40};
constexpr int kPausesPerClockRead = 32;

void Pause() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

// True as soon as `done()`; false when the spin time is over.
template <typename Predicate>
bool SpinUntil(const Predicate& done) {
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < kPausesPerClockRead; ++i) {
      if (done()) return true;
      Pause();
    }
  } while (std::chrono::steady_clock::now() < end);
  return done();
}

}  // namespace

ThreadTeam::ThreadTeam(int threads) : ticket_(kClosed) {
  DECANT_CHECK_MSG(threads >= 1, "threads %d", threads);
  for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { Work(i); });
}

ThreadTeam::~ThreadTeam() {
  stopping_.store(true);
  epoch_.fetch_add(1);
  epoch_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadTeam::Run(int64_t count, const Body& body) {
  if (count <= 0) return;
  DECANT_CHECK_MSG(count < static_cast<int64_t>(kClosed), "loop of %lld", static_cast<long long>(count));
  const bool alone = count == 1 || workers_.empty() || taken_.exchange(true, std::memory_order_acquire);
  if (alone) {
    for (int64_t i = 0; i < count; ++i) body(i, 0);
    return;
  }
  const uint64_t generation = (ticket_.load(std::memory_order_relaxed) >> 32) + 1;
  count_.store(count, std::memory_order_release);
  body_.store(&body, std::memory_order_release);
  remaining_.store(count, std::memory_order_release);
  ticket_.store(generation << 32, std::memory_order_release);
  epoch_.fetch_add(1);
  epoch_.notify_all();

  Drain(0);
  const auto done = [this] { return remaining_.load(std::memory_order_acquire) == 0; };
  if (!SpinUntil(done)) {
    for (int64_t left = remaining_.load(); left != 0; left = remaining_.load()) remaining_.wait(left);
  }
  ticket_.store(generation << 32 | kClosed, std::memory_order_release);
  taken_.store(false, std::memory_order_release);
}

bool ThreadTeam::Drain(int thread) {
  bool ran = false;
  uint64_t ticket = ticket_.load(std::memory_order_acquire);
  while ((ticket & kIndexMask) < kClosed) {
    const int64_t index = static_cast<int64_t>(ticket & kIndexMask);
    const Body* body = body_.load(std::memory_order_acquire);
    if (index >= count_.load(std::memory_order_acquire)) break;
    if (!ticket_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel, std::memory_order_acquire)) {
      continue;
    }
    (*body)(index, thread);
    ran = true;
    if (remaining_.fetch_sub(1, std::memory_order_acq_rel) == 1) remaining_.notify_all();
    ticket = ticket_.load(std::memory_order_acquire);
  }
  return ran;
}

void ThreadTeam::Work(int thread) {
  while (true) {
    const uint32_t epoch = epoch_.load();
    if (stopping_.load()) return;
    if (Drain(thread)) continue;
    if (!SpinUntil([this, epoch] { return epoch_.load(std::memory_order_acquire) != epoch; })) epoch_.wait(epoch);
  }
}

}  // namespace decant
