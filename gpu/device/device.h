// A device: memory, streams and events. The host CPU is device 0; CUDA comes behind the same interface.
//
// Data reaches an operation as typed addresses into a Buffer. Only operations and Copy may touch them: everything else
// treats an address in a Buffer as a number. The test device (tests/support) keeps its memory inaccessible outside
// operations and copies.
#ifndef DECANT_GPU_DEVICE_DEVICE_H_
#define DECANT_GPU_DEVICE_DEVICE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/memory_ref.h"

namespace decant {

class Device;
class Stream;

enum class DeviceKind : uint8_t { kHost = 0, kCuda = 1 };

// Device memory, owned; 64-byte aligned at least. Move-only; freed with it.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Device* device, void* address, int64_t bytes) : device_(device), address_(address), bytes_(bytes) {}
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer();

  int64_t bytes() const { return bytes_; }
  // Typed address of byte `offset`; not to be dereferenced outside operations.
  template <typename T>
  T* As(int64_t offset = 0) const {
    return reinterpret_cast<T*>(static_cast<char*>(address_) + offset);
  }
  MemoryRef ref() const;

 private:
  Device* device_ = nullptr;
  void* address_ = nullptr;
  int64_t bytes_ = 0;
};

// Work done so far on a stream.
class Event {
 public:
  virtual ~Event() = default;
  virtual bool Ready() const = 0;
  virtual absl::Status Wait() = 0;
};

// Operations of one stream run in order. One thread submits to a stream at a time.
class Stream {
 public:
  virtual ~Stream() = default;
  virtual Device& device() = 0;
  // Copies between any two memories; enqueued like an operation. Host memory must stay valid until the work is done.
  virtual void Copy(void* destination, const void* source, int64_t bytes) = 0;
  virtual void Fill(void* destination, int value, int64_t bytes) = 0;
  virtual std::unique_ptr<Event> Record() = 0;
  virtual absl::Status Synchronize() = 0;
};

class Device {
 public:
  virtual ~Device() = default;
  virtual DeviceKind kind() const = 0;
  virtual std::string name() const = 0;  // "host", "cuda:0 NVIDIA ..."
  // RESOURCE_EXHAUSTED with the bytes asked for and free.
  virtual absl::StatusOr<Buffer> Allocate(int64_t bytes) = 0;
  virtual std::unique_ptr<Stream> NewStream() = 0;
  // Bytes held by live buffers.
  virtual int64_t allocated_bytes() const = 0;

  // Host devices: threads that an operation may use, and the loop over [0, count) on them; body(index, thread). Runs
  // inline for count 1 or one thread.
  virtual int threads() const = 0;
  virtual void ParallelFor(int64_t count, const std::function<void(int64_t index, int thread)>& body) = 0;

 protected:
  friend class Buffer;
  friend class HostAccess;
  virtual void Free(void* address, int64_t bytes) = 0;
  // An operation on a host device holds access while it runs; the test device opens its memory for just that long.
  virtual void BeginAccess() {}
  virtual void EndAccess() {}
};

// Held by every host operation while it dereferences addresses.
class HostAccess {
 public:
  explicit HostAccess(Stream& stream) : device_(stream.device()) { device_.BeginAccess(); }
  ~HostAccess() { device_.EndAccess(); }
  HostAccess(const HostAccess&) = delete;
  HostAccess& operator=(const HostAccess&) = delete;

 private:
  Device& device_;
};

// The host CPU with `threads` threads (0 = one per core). Operations run at once on the calling thread and the device's
// threads; several streams may be used by several threads.
std::unique_ptr<Device> CreateHostDevice(int threads);

}  // namespace decant

#endif  // DECANT_GPU_DEVICE_DEVICE_H_
