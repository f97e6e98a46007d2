// Memory that faults when it is touched while nobody holds access to it: what the devices of the tests are made of.
#ifndef DECANT_TESTS_SUPPORT_PROTECTED_ARENA_H_
#define DECANT_TESTS_SUPPORT_PROTECTED_ARENA_H_

#include <cstdint>
#include <mutex>
#include <string>

#include "absl/status/statusor.h"
#include "gpu/device/device.h"
#include "gpu/device/free_ranges.h"

namespace decant {

// Thread-safe. New memory is filled with bytes 0xA5; with the address sanitiser what is not allocated is poisoned, so
// that running from one buffer into the next is seen. Dies with its last buffer still alive.
class ProtectedArena {
 public:
  // `bytes` are reserved, not resident; `name` is for messages.
  ProtectedArena(std::string name, int64_t bytes);
  ~ProtectedArena();
  ProtectedArena(const ProtectedArena&) = delete;
  ProtectedArena& operator=(const ProtectedArena&) = delete;

  // RESOURCE_EXHAUSTED with the bytes asked for and free.
  absl::StatusOr<Buffer> Allocate(Device* device, int64_t bytes);
  void Free(void* address, int64_t bytes);
  void BeginAccess();
  void EndAccess();

  const void* address() const { return arena_; }
  int64_t bytes() const { return bytes_; }
  int64_t allocated_bytes() const;

 private:
  void Protect(int protection);

  const std::string name_;
  const int64_t bytes_;
  void* mapped_ = nullptr;
  int64_t mapped_bytes_ = 0;
  char* arena_ = nullptr;
  mutable std::mutex mutex_;  // guards what follows
  FreeRanges free_;
  int64_t allocated_ = 0;  // as asked for
  int holders_ = 0;
};

}  // namespace decant

#endif  // DECANT_TESTS_SUPPORT_PROTECTED_ARENA_H_
