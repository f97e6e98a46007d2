#include "gpu/device/free_ranges.h"

#include <iterator>

namespace decant {

void FreeRanges::Add(int64_t offset, int64_t bytes) {
  free_[offset] = bytes;
  by_size_.emplace(bytes, offset);
}

void FreeRanges::Remove(std::map<int64_t, int64_t>::iterator range) {
  by_size_.erase({range->second, range->first});
  free_.erase(range);
}

int64_t FreeRanges::Take(int64_t bytes) {
  const int64_t padded = Padded(bytes);
  const auto found = by_size_.lower_bound({padded, 0});
  if (found == by_size_.end()) return -1;
  const auto [size, offset] = *found;
  Remove(free_.find(offset));
  if (size > padded) Add(offset + padded, size - padded);
  free_bytes_ -= padded;
  return offset;
}

void FreeRanges::Give(int64_t offset, int64_t bytes) {
  const int64_t padded = Padded(bytes);
  free_bytes_ += padded;
  int64_t begin = offset;
  int64_t end = offset + padded;
  const auto next = free_.lower_bound(offset);
  if (next != free_.begin()) {
    if (const auto previous = std::prev(next); previous->first + previous->second == begin) {
      begin = previous->first;
      Remove(previous);
    }
  }
  if (next != free_.end() && next->first == end) {
    end += next->second;
    Remove(next);
  }
  Add(begin, end - begin);
}

}  // namespace decant
