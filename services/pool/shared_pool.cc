#include "services/pool/shared_pool.h"

#include <algorithm>
#include <utility>

namespace decant {
namespace {

// Above what is read ahead of anybody's wish.
constexpr int kAskedPriority = 1;
constexpr double kPrefetchPatience = 5;  // times the limit of a load that somebody waits for; nobody waits for these
constexpr size_t kForgetAtOnce = 512;    // names, under the mutex
constexpr size_t kLearnAtOnce = 16;      // heads, each a few microseconds

}  // namespace

SharedPool::SharedPool(const PoolLimits& limits, Catalogue catalogue, ProfileTables tables, Metrics& metrics,
                       std::unique_ptr<TieredStore> tiers, absl::Span<const RecordHead> found,
                       std::shared_ptr<FrameMemory> frame_memory)
    : load_limit_(limits.load_limit),
      tiers_(std::move(tiers)),
      pool_(limits, std::move(catalogue), std::move(tables), tiers_.get()),
      metrics_(metrics),
      frame_memory_(std::move(frame_memory)) {
  absl::MutexLock lock(&mutex_);
  (void)pool_.Learn(found, Tier::kDisk);  // what there is no room for is as if it were not there
  metrics_.Show(pool_.stats());
}

SharedPool::~SharedPool() {
  // Its threads may be about to call Finish, and pool_ to call it: the pointer stays until they have ended.
  TieredStore* const tiers = tiers_.get();
  if (tiers != nullptr) tiers->Close();
}

void SharedPool::Begin(Loads loads) {
  const absl::Time now = absl::Now();  // the clock of the store
  for (LoadJob& job : loads) {
    LoadWant want;
    want.priority = job.is_prefetch() ? 0 : kAskedPriority;
    want.deadline = now + std::min(load_limit_ * (job.is_prefetch() ? kPrefetchPatience : 1), job.useful);
    want.prefetch = job.is_prefetch();
    const RecordId id = job.id;
    tiers_->Load(id, want, [this, job = std::move(job)](Loaded loaded) { Finish(job, std::move(loaded)); });
  }
}

void SharedPool::Finish(const LoadJob& job, Loaded loaded) {
  std::vector<Waiter> ready;
  With([&](Pool& pool, absl::Time now) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    pool.FinishLoad(now, job, std::move(loaded));
    const auto loading = [&](const Waiter& waiter) { return pool.IsLoading(*waiter.cursor); };
    const auto end = std::stable_partition(waiters_.begin(), waiters_.end(), loading);
    std::move(end, waiters_.end(), std::back_inserter(ready));
    waiters_.erase(end, waiters_.end());
    return 0;
  });
  for (const Waiter& waiter : ready) waiter.ready();
}

bool SharedPool::AwaitLoads(FetchCursor& cursor, std::function<void()> ready) {
  absl::MutexLock lock(&mutex_);
  if (!pool_.IsLoading(cursor)) return false;
  waiters_.push_back(Waiter{&cursor, std::move(ready)});
  return true;
}

absl::StatusOr<size_t> SharedPool::Learn(Tier tier, absl::Span<const RecordHead> heads) {
  size_t learned = 0;
  for (size_t first = 0; first < heads.size(); first += kLearnAtOnce) {
    const absl::Span<const RecordHead> some = heads.subspan(first, kLearnAtOnce);
    for (const RecordHead& head : some) tiers_->Learn(tier, head);
    const absl::StatusOr<size_t> more = With([&](Pool& pool, absl::Time) { return pool.Learn(some, tier); });
    if (!more.ok()) return more.status();
    learned += *more;
  }
  return learned;
}

void SharedPool::Expire() {
  std::vector<RecordName> forgotten;
  if (tiers_ != nullptr) forgotten = tiers_->TakeForgotten();
  for (size_t first = 0; first == 0 || first < forgotten.size(); first += kForgetAtOnce) {
    With([&](Pool& pool, absl::Time now) {
      pool.Expire(now);
      pool.ForgetBelow(absl::MakeConstSpan(forgotten).subspan(first, kForgetAtOnce));
      return 0;
    });
  }
}

absl::Status SharedPool::DrainTiers(absl::Time deadline) {
  if (tiers_ == nullptr) return absl::OkStatus();
  std::vector<Record> rest;
  if (tiers_->write_policy() == WritePolicy::kBack) {
    rest = With([](Pool& pool, absl::Time) { return pool.NotBelow(); });
  }
  return tiers_->Drain(std::move(rest), deadline);
}

}  // namespace decant
