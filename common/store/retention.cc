#include "common/store/retention.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace decant {

absl::StatusOr<RetentionReceipt> Retention::Retain(absl::Time now, uint64_t entry, uint32_t tenant, int64_t bytes,
                                                   int64_t budget_bytes, int32_t priority, absl::Duration duration) {
  if (priority < 0 || priority > kMostPriority) {
    return absl::InvalidArgumentError(absl::StrCat("priority ", priority, " is not in [0, ", kMostPriority, "]"));
  }
  if (duration <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(
        absl::StrCat("retention for ", absl::FormatDuration(duration), "; it must last some time"));
  }
  Forget(entry);
  RetentionReceipt receipt;
  receipt.priority = priority;
  if (duration > longest_) {
    receipt.clamped = absl::StrCat("for ", absl::FormatDuration(longest_), ", the longest there is");
    duration = longest_;
  }
  const bool counts = priority > kDefaultPriority;
  if (counts && retained_bytes(tenant) > budget_bytes - bytes) {
    receipt.priority = kDefaultPriority;
    receipt.clamped = absl::StrCat(bytes, " bytes do not fit into the budget of ", budget_bytes, ", of which ",
                                   retained_bytes(tenant), " are taken");
    return receipt;
  }
  receipt.until = now + duration;
  if (priority == kDefaultPriority) return receipt;
  wishes_[entry] = Wish{tenant, bytes, counts, receipt.until};
  by_end_.emplace(receipt.until, entry);
  if (counts) bytes_[tenant] += bytes;
  return receipt;
}

void Retention::Resize(uint64_t entry, int64_t bytes) {
  const auto found = wishes_.find(entry);
  if (found == wishes_.end()) return;
  if (found->second.counts) bytes_[found->second.tenant] += bytes - found->second.bytes;
  found->second.bytes = bytes;
}

bool Retention::Forget(uint64_t entry) {
  const auto found = wishes_.find(entry);
  if (found == wishes_.end()) return false;
  const Wish& wish = found->second;
  if (wish.counts) bytes_[wish.tenant] -= wish.bytes;
  if (const auto sum = bytes_.find(wish.tenant); sum != bytes_.end() && sum->second == 0) bytes_.erase(sum);
  by_end_.erase({wish.until, entry});
  wishes_.erase(found);
  return true;
}

std::vector<uint64_t> Retention::Expire(absl::Time now) {
  std::vector<uint64_t> ended;
  while (!by_end_.empty() && by_end_.begin()->first <= now) {
    ended.push_back(by_end_.begin()->second);
    Forget(ended.back());
  }
  return ended;
}

int64_t Retention::retained_bytes(uint32_t tenant) const {
  const auto found = bytes_.find(tenant);
  return found == bytes_.end() ? 0 : found->second;
}

}  // namespace decant
