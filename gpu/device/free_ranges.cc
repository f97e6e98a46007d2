#include "gpu/device/free_ranges.h"

#include <algorithm>
#include <iterator>

namespace decant {

int64_t FreeRanges::Take(int64_t bytes) {
  const int64_t padded = Padded(bytes);
  for (auto it = free_.begin(); it != free_.end(); ++it) {
    if (it->second < padded) continue;
    const auto [offset, size] = *it;
    free_.erase(it);
    if (size > padded) free_[offset + padded] = size - padded;
    free_bytes_ -= padded;
    return offset;
  }
  return -1;
}

void FreeRanges::Give(int64_t offset, int64_t bytes) {
  const int64_t padded = Padded(bytes);
  free_bytes_ += padded;
  auto it = free_.emplace(offset, padded).first;
  if (const auto next = std::next(it); next != free_.end() && offset + padded == next->first) {
    it->second += next->second;
    free_.erase(next);
  }
  if (it != free_.begin()) {
    if (const auto previous = std::prev(it); previous->first + previous->second == it->first) {
      previous->second += it->second;
      free_.erase(it);
    }
  }
}

int64_t FreeRanges::largest() const {
  int64_t largest = 0;
  for (const auto& [offset, bytes] : free_) largest = std::max(largest, bytes);
  return largest;
}

}  // namespace decant
