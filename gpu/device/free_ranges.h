// Which parts of one run of memory are free: the bookkeeping of an arena.
#ifndef DECANT_GPU_DEVICE_FREE_RANGES_H_
#define DECANT_GPU_DEVICE_FREE_RANGES_H_

#include <cstdint>
#include <map>
#include <set>
#include <utility>

namespace decant {

// Best fit; neighbours that become free are joined. Not thread-safe.
class FreeRanges {
 public:
  // All of [0, bytes) is free; sizes are rounded up to `alignment`.
  FreeRanges(int64_t bytes, int64_t alignment) : alignment_(alignment), free_bytes_(bytes) { Add(0, bytes); }

  // The offset of a free range of `bytes`, now taken; -1 when none is that large.
  int64_t Take(int64_t bytes);
  // Gives back what Take gave.
  void Give(int64_t offset, int64_t bytes);

  int64_t Padded(int64_t bytes) const { return (bytes + alignment_ - 1) / alignment_ * alignment_; }
  int64_t free_bytes() const { return free_bytes_; }
  // The largest range that Take would give.
  int64_t largest() const { return by_size_.empty() ? 0 : by_size_.rbegin()->first; }

 private:
  void Add(int64_t offset, int64_t bytes);
  void Remove(std::map<int64_t, int64_t>::iterator range);

  const int64_t alignment_;
  std::map<int64_t, int64_t> free_;                // offset -> bytes
  std::set<std::pair<int64_t, int64_t>> by_size_;  // the same, as (bytes, offset)
  int64_t free_bytes_;
};

}  // namespace decant

#endif  // DECANT_GPU_DEVICE_FREE_RANGES_H_
