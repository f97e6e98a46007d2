// The core under its mutex, with the clock, the metrics and the lower tiers of the process.
#ifndef DECANT_SERVICES_POOL_SHARED_POOL_H_
#define DECANT_SERVICES_POOL_SHARED_POOL_H_

#include <chrono>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "services/pool/frame_memory.h"
#include "services/pool/metrics.h"
#include "services/pool/pool.h"
#include "services/pool/recipe_cache.h"
#include "services/pool/tiers/tiered_store.h"

namespace decant {

// Thread-safe.
class SharedPool {
 public:
  // `metrics` must outlive it. `tiers` is null where host memory is all there is; `found` is what they hold already.
  // `frame_memory` may be null: then nobody reads frames where they lie.
  SharedPool(const PoolLimits& limits, Catalogue catalogue, ProfileTables tables, Metrics& metrics,
             std::unique_ptr<TieredStore> tiers = nullptr, absl::Span<const RecordHead> found = {},
             std::shared_ptr<FrameMemory> frame_memory = nullptr);

  ~SharedPool();

  // Runs one operation `f(Pool&, absl::Time now)`, shows what it changed and begins the loads it wants. `f` must not
  // block.
  template <typename F>
  auto With(F&& f) {
    Loads loads;
    auto result = [&] {
      absl::MutexLock lock(&mutex_);
      auto made = f(pool_, Now());
      metrics_.Show(pool_.stats());
      loads = pool_.TakeLoads();
      return made;
    }();
    if (!loads.empty()) Begin(std::move(loads));
    return result;
  }

  // Waits until there were more events than `seen`, at most for `limit`; returns how many there were by then.
  uint64_t AwaitEvents(uint64_t seen, absl::Duration limit) {
    absl::MutexLock lock(&mutex_);
    const auto more = [this, seen]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return pool_.events() > seen; };
    mutex_.AwaitWithTimeout(absl::Condition(&more), limit);
    return pool_.events();
  }

  // False when no chunk of the fetch is on its way from a lower tier. Otherwise calls `ready` once, from any thread,
  // when that is so, at the latest PoolLimits.load_limit after the lease was granted, whatever else is on its way;
  // `cursor` must stay where it is until then.
  bool AwaitLoads(FetchCursor& cursor, std::function<void()> ready);

  // Ends what nobody uses any more, and forgets what the tiers had to forget.
  void Expire();
  // What a tier holds from before; how much of it was new. RESOURCE_EXHAUSTED when the pool can know of no more chunks.
  absl::StatusOr<size_t> Learn(Tier tier, absl::Span<const RecordHead> heads);
  // Writes to the tiers what still waits to be written, and with write policy "back" what only host memory has.
  // DEADLINE_EXCEEDED when not all of it was.
  absl::Status DrainTiers(absl::Time deadline);
  TieredStats tier_stats() const { return tiers_ == nullptr ? TieredStats() : tiers_->stats(); }

  // Never change, so they need no lock.
  const Catalogue& catalogue() const ABSL_NO_THREAD_SAFETY_ANALYSIS { return pool_.catalogue(); }
  RecipeCache& recipes() { return recipes_; }
  FrameMemory* frame_memory() const { return frame_memory_.get(); }

 private:
  using Loads = std::vector<LoadJob>;
  struct Waiter {
    FetchCursor* cursor;
    std::function<void()> ready;
  };

  // Deadlines must not move when the wall clock is set.
  absl::Time Now() const { return start_ + absl::FromChrono(std::chrono::steady_clock::now() - steady_start_); }
  void Begin(Loads loads);
  void Finish(const LoadJob& job, Loaded loaded);

  const absl::Duration load_limit_;
  const absl::Time start_ = absl::Now();
  const std::chrono::steady_clock::time_point steady_start_ = std::chrono::steady_clock::now();
  absl::Mutex mutex_;
  std::unique_ptr<TieredStore> tiers_;  // used by pool_, and its threads call Finish: the destructor ends it first
  Pool pool_ ABSL_GUARDED_BY(mutex_);
  PoolMetrics metrics_ ABSL_GUARDED_BY(mutex_);
  std::vector<Waiter> waiters_ ABSL_GUARDED_BY(mutex_);
  RecipeCache recipes_{catalogue()};
  const std::shared_ptr<FrameMemory> frame_memory_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_POOL_SHARED_POOL_H_
