#include "tests/support/faulty_tier.h"

#include <utility>

#include "absl/time/clock.h"
#include "common/base/random.h"

namespace decant {

TierScript SeededScript(uint64_t seed, uint64_t every, std::vector<TierFault> faults) {
  return [seed, every, faults = std::move(faults)](uint64_t n) {
    const uint64_t draw = MixBits(seed, n);
    if (faults.empty() || draw % every != 0) return TierFault::kNone;
    return faults[draw / every % faults.size()];
  };
}

FaultyTier::FaultyTier(std::unique_ptr<ByteTier> tier, TierScript reads, TierScript writes,
                       std::function<void(absl::Duration)> wait, absl::Duration delay)
    : tier_(std::move(tier)),
      read_script_(std::move(reads)),
      write_script_(std::move(writes)),
      wait_(std::move(wait)),
      delay_(delay) {}

absl::Status FaultyTier::Put(const RecordId& id, absl::string_view record, absl::Time deadline) {
  TierFault fault = TierFault::kNone;
  {
    absl::MutexLock lock(&mutex_);
    fault = write_script_(writes_++);
  }
  if (fault == TierFault::kFull) {
    Count(fault);
    return absl::ResourceExhaustedError("the disk is full");
  }
  if (fault == TierFault::kSlow || fault == TierFault::kHung) {
    Count(fault);
    wait_(fault == TierFault::kSlow ? delay_ : deadline - absl::Now());
    if (fault == TierFault::kHung) return absl::DeadlineExceededError("the tier hangs");
  }
  const absl::Status put = tier_->Put(id, record, deadline);
  if (put.ok()) Remember(id, record);
  return put;
}

void FaultyTier::Remember(const RecordId& id, absl::string_view record) {
  absl::MutexLock lock(&mutex_);
  const RecordName name = NameOf(id);
  std::string& now = now_[name];
  if (!now.empty() && now != record) before_[name] = std::move(now);
  now = std::string(record);
  other_ = now;
  other_name_ = name;
}

absl::StatusOr<std::string> FaultyTier::Get(const RecordId& id, absl::Time deadline) {
  TierFault fault = TierFault::kNone;
  uint64_t n = 0;
  {
    absl::MutexLock lock(&mutex_);
    n = reads_++;
    fault = read_script_(n);
  }
  if (fault == TierFault::kSlow || fault == TierFault::kHung) {
    Count(fault);
    wait_(fault == TierFault::kSlow ? delay_ : deadline - absl::Now());
    if (fault == TierFault::kHung) return absl::DeadlineExceededError("the tier hangs");
  }
  absl::StatusOr<std::string> bytes = tier_->Get(id, deadline);
  if (!bytes.ok()) return bytes;
  return Spoil(fault, id, *std::move(bytes), n);
}

absl::StatusOr<std::string> FaultyTier::Spoil(TierFault fault, const RecordId& id, std::string bytes, uint64_t n) {
  const uint64_t draw = MixBits(n, bytes.size());
  if (fault == TierFault::kFlip) {
    bytes[draw % bytes.size()] ^= static_cast<char>(1u << (draw >> 32) % 8);
  } else if (fault == TierFault::kTruncate) {
    bytes.resize(draw % bytes.size());
  } else if (fault == TierFault::kWrongModel) {
    const absl::StatusOr<RecordHead> head = DecodeHead(bytes);
    if (!head.ok()) return bytes;
    absl::StatusOr<Record> record = DecodeRecord(bytes, IdOf(head->variant));
    if (!record.ok()) return bytes;
    record->variant.model.bytes[draw % 32] ^= 1;
    bytes = EncodeRecord(*record);
  } else if (fault == TierFault::kStale || fault == TierFault::kWrongKey) {
    absl::MutexLock lock(&mutex_);
    if (fault == TierFault::kStale) {
      const auto before = before_.find(NameOf(id));
      if (before == before_.end() || before->second == bytes) return bytes;
      bytes = before->second;
    } else {
      if (other_.empty() || other_name_ == NameOf(id)) return bytes;
      bytes = other_;
    }
    ++faults_[static_cast<size_t>(fault)];
    return bytes;
  } else {
    return bytes;
  }
  Count(fault);
  return bytes;
}

void FaultyTier::Count(TierFault fault) {
  absl::MutexLock lock(&mutex_);
  ++faults_[static_cast<size_t>(fault)];
}

std::array<int64_t, kTierFaults> FaultyTier::faults() const {
  absl::MutexLock lock(&mutex_);
  return faults_;
}

}  // namespace decant
