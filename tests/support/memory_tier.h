// A byte tier in memory, for tests of what stands above one.
#ifndef DECANT_TESTS_SUPPORT_MEMORY_TIER_H_
#define DECANT_TESTS_SUPPORT_MEMORY_TIER_H_

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/store/tier.h"

namespace decant {

class MemoryTier final : public ByteTier {
 public:
  explicit MemoryTier(Tier tier = Tier::kDisk) : tier_(tier) {}

  Tier tier() const override { return tier_; }
  absl::Status Put(const RecordId& id, absl::string_view record, absl::Time) override {
    absl::MutexLock lock(&mutex_);
    records_[NameOf(id).ToBytes()] = std::string(record);
    return absl::OkStatus();
  }
  absl::StatusOr<std::string> Get(const RecordId& id, absl::Time) override {
    absl::MutexLock lock(&mutex_);
    const auto found = records_.find(NameOf(id).ToBytes());
    if (found == records_.end()) return absl::NotFoundError("not in memory");
    return found->second;
  }
  absl::Status Erase(const RecordId& id, absl::Time) override {
    absl::MutexLock lock(&mutex_);
    records_.erase(NameOf(id).ToBytes());
    return absl::OkStatus();
  }
  absl::StatusOr<bool> Contains(const RecordId& id, absl::Time) override {
    absl::MutexLock lock(&mutex_);
    return records_.count(NameOf(id).ToBytes()) > 0;
  }
  std::vector<RecordName> TakeForgotten() override {
    absl::MutexLock lock(&mutex_);
    return std::exchange(forgotten_, {});
  }
  TierUse use() const override {
    absl::MutexLock lock(&mutex_);
    TierUse use;
    use.records = static_cast<int64_t>(records_.size());
    return use;
  }

  // As if its room had been needed.
  void Evict(const RecordId& id) {
    absl::MutexLock lock(&mutex_);
    if (records_.erase(NameOf(id).ToBytes()) > 0) forgotten_.push_back(NameOf(id));
  }

 private:
  const Tier tier_;
  mutable absl::Mutex mutex_;
  std::map<std::string, std::string> records_ ABSL_GUARDED_BY(mutex_);
  std::vector<RecordName> forgotten_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace decant

#endif  // DECANT_TESTS_SUPPORT_MEMORY_TIER_H_
