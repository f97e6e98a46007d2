// The core under its mutex, with the clock and the metrics of the process.
#ifndef DECANT_SERVICES_POOL_SHARED_POOL_H_
#define DECANT_SERVICES_POOL_SHARED_POOL_H_

#include <chrono>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "services/pool/metrics.h"
#include "services/pool/pool.h"

namespace decant {

// Thread-safe.
class SharedPool {
 public:
  // `metrics` must outlive it.
  SharedPool(const PoolLimits& limits, Catalogue catalogue, ProfileTables tables, Metrics& metrics)
      : pool_(limits, std::move(catalogue), std::move(tables)), metrics_(metrics) {
    metrics_.Show(pool_.stats());
  }

  // Runs one operation `f(Pool&, absl::Time now)` and shows what it changed. `f` must not block.
  template <typename F>
  auto With(F&& f) {
    absl::MutexLock lock(&mutex_);
    auto result = f(pool_, Now());
    metrics_.Show(pool_.stats());
    return result;
  }

  // Never changes, so it needs no lock.
  const Catalogue& catalogue() const ABSL_NO_THREAD_SAFETY_ANALYSIS { return pool_.catalogue(); }

 private:
  // Deadlines must not move when the wall clock is set.
  absl::Time Now() const { return start_ + absl::FromChrono(std::chrono::steady_clock::now() - steady_start_); }

  const absl::Time start_ = absl::Now();
  const std::chrono::steady_clock::time_point steady_start_ = std::chrono::steady_clock::now();
  absl::Mutex mutex_;
  Pool pool_ ABSL_GUARDED_BY(mutex_);
  PoolMetrics metrics_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace decant

#endif  // DECANT_SERVICES_POOL_SHARED_POOL_H_
