#include "common/index/digest_table.h"

namespace decant {

uint32_t DigestTable::Hold(const Digest& digest, absl::string_view label) {
  if (digest.IsZero()) return 0;
  if (const auto found = numbers_.find(digest); found != numbers_.end()) {
    ++rows_[found->second].holders;
    return found->second;
  }
  uint32_t number = 0;
  if (free_.empty()) {
    number = static_cast<uint32_t>(rows_.size());
    rows_.emplace_back();
  } else {
    number = free_.back();
    free_.pop_back();
  }
  rows_[number] = Row{digest, std::string(label), 1};
  numbers_.emplace(digest, number);
  return number;
}

void DigestTable::LetGo(uint32_t number) {
  if (number == 0 || --rows_[number].holders > 0) return;
  numbers_.erase(rows_[number].digest);
  rows_[number] = Row{};
  free_.push_back(number);
}

uint32_t DigestTable::Find(const Digest& digest) const {
  if (digest.IsZero()) return 0;
  const auto found = numbers_.find(digest);
  return found == numbers_.end() ? kAbsent : found->second;
}

}  // namespace decant
