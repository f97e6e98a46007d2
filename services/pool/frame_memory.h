// The frames that a pool holds, in memory that readers on its host can map: they copy what they fetch from where it
// lies (Pool.Locate) instead of having it sent.
//
// What a reader may map is everything the pool holds, of all tenants. The kernel lets processes of the same user and
// process namespace do so (gpu/link/shared_memory.h), who could read this process anyway.
#ifndef DECANT_SERVICES_POOL_FRAME_MEMORY_H_
#define DECANT_SERVICES_POOL_FRAME_MEMORY_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/store/blob.h"
#include "gpu/device/device.h"
#include "gpu/device/free_ranges.h"
#include "gpu/link/shared_memory.h"

namespace decant {

class FrameMemory final : public BlobMemory, public std::enable_shared_from_this<FrameMemory> {
 public:
  // Reserves room for `bytes` bytes of frames; the host gives it as it is used. RESOURCE_EXHAUSTED when there is no
  // such memory.
  static absl::StatusOr<std::shared_ptr<FrameMemory>> Create(int64_t bytes);

  std::shared_ptr<char[]> Take(int64_t bytes) override;

  // How a reader opens it, and the random bytes at its beginning by which it knows that it has opened the right one.
  const std::string& handle() const { return handle_; }
  const std::string& id() const { return id_; }
  // Where in it `blob` begins; none when it lies elsewhere, because there was no room.
  std::optional<uint64_t> OffsetOf(const Blob& blob) const;

 private:
  FrameMemory(std::shared_ptr<SharedMemory> memory, Buffer buffer, std::string handle);
  void Give(int64_t offset, int64_t bytes);

  const std::shared_ptr<SharedMemory> memory_;  // what the buffer goes back to
  const Buffer buffer_;
  const std::string handle_;
  const std::string id_;
  absl::Mutex mutex_;
  FreeRanges free_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace decant

#endif  // DECANT_SERVICES_POOL_FRAME_MEMORY_H_
