// The memory in which pools on this host hold their frames, mapped for reading.
#ifndef DECANT_SERVICES_PREFILL_POOL_MEMORY_H_
#define DECANT_SERVICES_PREFILL_POOL_MEMORY_H_

#include <list>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/store/blob.h"
#include "gpu/link/shared_memory.h"

namespace decant {

// Keeps what was given back, to be taken again: fresh memory costs about as much as what is copied into it.
class SpareMemory final : public BlobMemory, public std::enable_shared_from_this<SpareMemory> {
 public:
  std::shared_ptr<char[]> Take(int64_t bytes) override;

 private:
  void Give(std::unique_ptr<char[]> memory, size_t bytes);

  absl::Mutex mutex_;
  size_t spare_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::multimap<size_t, std::unique_ptr<char[]>> spare_ ABSL_GUARDED_BY(mutex_);  // by size
};

// One region, as long as anybody holds it.
class MappedRegion {
 public:
  explicit MappedRegion(const IpcMapping& mapping) : mapping_(mapping) {}
  ~MappedRegion() { CloseSharedMemory(mapping_); }
  MappedRegion(const MappedRegion&) = delete;
  MappedRegion& operator=(const MappedRegion&) = delete;

  struct Place {
    uint64_t offset = 0;
    uint64_t bytes = 0;
    uint32_t crc32c = 0;  // of what is meant to lie there
  };
  // The bytes of all places, back to back, in `where`. INVALID_ARGUMENT for a place outside the region. DATA_LOSS when
  // something else lies there: whoever wrote it may have given the place to other frames meanwhile.
  absl::StatusOr<Blob> Copy(absl::Span<const Place> places, BlobMemory& where) const;

 private:
  const IpcMapping mapping_;
};

// Regions that were opened before are kept open, the last few of them. Thread-safe.
class PoolMemory {
 public:
  // `handle` as the pool names it, `id` the bytes at its beginning. FAILED_PRECONDITION when this process cannot map
  // it, or another region is called so here: then the pool runs elsewhere, or as somebody else.
  absl::StatusOr<std::shared_ptr<const MappedRegion>> Open(const std::string& handle, const std::string& id);

 private:
  absl::Mutex mutex_;
  std::list<std::pair<std::string, std::shared_ptr<const MappedRegion>>> recent_ ABSL_GUARDED_BY(mutex_);  // by id
};

}  // namespace decant

#endif  // DECANT_SERVICES_PREFILL_POOL_MEMORY_H_
