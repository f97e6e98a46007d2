// A byte tier that spoils what goes through it, on a seeded script.
//
// What it serves in place of the right bytes is as good as such bytes can be: the record of another key or model is
// sound in itself, a stale one was stored under the same name before. Only a reader that knows what it asked for can
// tell.
#ifndef DECANT_TESTS_SUPPORT_FAULTY_TIER_H_
#define DECANT_TESTS_SUPPORT_FAULTY_TIER_H_

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "common/store/tier.h"

namespace decant {

enum class TierFault : uint8_t {
  kNone = 0,
  kFlip,        // one bit of a read is flipped
  kTruncate,    // the end of a read is missing
  kStale,       // a read gives what the name held before
  kWrongKey,    // a read gives another record
  kWrongModel,  // a read gives this chunk as another model's
  kFull,        // a write finds no room
  kSlow,        // wait(delay) before the call
  kHung,        // the call ends at its deadline, having done nothing
};
inline constexpr int kTierFaults = 9;

// Fault of operation `n` (reads and writes count apart): a function, so that a run can be repeated.
using TierScript = std::function<TierFault(uint64_t n)>;
// One in `every` operations fails in one of `faults`, drawn by `seed`.
TierScript SeededScript(uint64_t seed, uint64_t every, std::vector<TierFault> faults);

// Thread-safe.
class FaultyTier final : public ByteTier {
 public:
  FaultyTier(std::unique_ptr<ByteTier> tier, TierScript reads, TierScript writes,
             std::function<void(absl::Duration)> wait, absl::Duration delay = absl::Milliseconds(1));

  Tier tier() const override { return tier_->tier(); }
  absl::Status Put(const RecordId& id, absl::string_view record, absl::Time deadline) override;
  absl::StatusOr<std::string> Get(const RecordId& id, absl::Time deadline) override;
  absl::Status Erase(const RecordId& id, absl::Time deadline) override { return tier_->Erase(id, deadline); }
  absl::StatusOr<bool> Contains(const RecordId& id, absl::Time deadline) override {
    return tier_->Contains(id, deadline);
  }
  std::vector<RecordName> TakeForgotten() override { return tier_->TakeForgotten(); }
  TierUse use() const override { return tier_->use(); }

  ByteTier& wrapped() { return *tier_; }
  // Faults that truly happened: a fault for which there was nothing to spoil is none.
  std::array<int64_t, kTierFaults> faults() const;

 private:
  absl::StatusOr<std::string> Spoil(TierFault fault, const RecordId& id, std::string bytes, uint64_t n);
  void Remember(const RecordId& id, absl::string_view record);
  void Count(TierFault fault);

  const std::unique_ptr<ByteTier> tier_;
  const TierScript read_script_;
  const TierScript write_script_;
  const std::function<void(absl::Duration)> wait_;
  const absl::Duration delay_;
  mutable absl::Mutex mutex_;
  uint64_t reads_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t writes_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::flat_hash_map<RecordName, std::string> now_ ABSL_GUARDED_BY(mutex_);     // what was written last
  absl::flat_hash_map<RecordName, std::string> before_ ABSL_GUARDED_BY(mutex_);  // and what was there before
  std::string other_ ABSL_GUARDED_BY(mutex_);                                    // some record, of other_name_
  RecordName other_name_ ABSL_GUARDED_BY(mutex_);
  std::array<int64_t, kTierFaults> faults_ ABSL_GUARDED_BY(mutex_){};
};

}  // namespace decant

#endif  // DECANT_TESTS_SUPPORT_FAULTY_TIER_H_
