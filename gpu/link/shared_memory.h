// Memory that processes on one host share, in the place of CUDA IPC's: frames between workers without a GPU.
//
// Every allocation is a file in memory that can't change its size any more; its handle is where this process shows it
// (/proc/PID/fd/N). Who may open it is the kernel's to say: processes of the same user and of the same process
// namespace, so that workers in containers of their own stay with gRPC. It is opened for reading only.
#ifndef DECANT_GPU_LINK_SHARED_MEMORY_H_
#define DECANT_GPU_LINK_SHARED_MEMORY_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "gpu/device/device.h"
#include "gpu/link/ipc_functions.h"

namespace decant {

// Where the buffers go back to; no operation runs on it. Outlives its buffers. Thread-safe.
class SharedMemory final : public Device {
 public:
  ~SharedMemory() override;

  DeviceKind kind() const override { return DeviceKind::kHost; }
  std::string name() const override { return "shared memory"; }
  // RESOURCE_EXHAUSTED when the host gives no such file.
  absl::StatusOr<Buffer> Allocate(int64_t bytes) override;
  std::unique_ptr<Stream> NewStream() override { return nullptr; }
  int64_t allocated_bytes() const override;
  int threads() const override { return 1; }
  void ParallelFor(int64_t count, const std::function<void(int64_t, int)>& body) override;

  // FAILED_PRECONDITION for an address that no buffer holds.
  absl::StatusOr<IpcRegion> Export(const void* address) const;

 protected:
  void Free(void* address, int64_t bytes) override;

 private:
  struct Region {
    int file = -1;
    int64_t bytes = 0;
  };

  mutable absl::Mutex mutex_;
  std::map<const char*, Region> regions_ ABSL_GUARDED_BY(mutex_);  // by their first address
};

// A region of this process or another one, until Close. FAILED_PRECONDITION when it can't be opened or is no memory of
// a fixed size.
absl::StatusOr<IpcMapping> OpenSharedMemory(const std::string& handle);
void CloseSharedMemory(const IpcMapping& mapping);

// A region that shows random bytes of so many at its beginning is not taken for another one that has its handle.
inline constexpr size_t kRegionIdBytes = 16;

// Lives as long as `memory`, which it holds.
IpcFunctions SharedMemoryIpc(std::shared_ptr<SharedMemory> memory);

}  // namespace decant

#endif  // DECANT_GPU_LINK_SHARED_MEMORY_H_
