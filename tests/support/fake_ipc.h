// Shared memory as CUDA IPC's table, on any device: what one side allocates the other maps at another address, in one
// process or in two on one host. It counts, and fails when told to.
#ifndef DECANT_TESTS_SUPPORT_FAKE_IPC_H_
#define DECANT_TESTS_SUPPORT_FAKE_IPC_H_

#include <atomic>
#include <memory>

#include "gpu/link/ipc_functions.h"
#include "gpu/link/shared_memory.h"

namespace decant {

// Must outlive the memory it allocated. Thread-safe.
class FakeIpc {
 public:
  IpcFunctions functions();
  std::atomic<bool> open_fails{false};
  std::atomic<bool> other_host{false};    // what is opened is somebody else's memory
  int opened() const { return opened_; }  // and not closed
  int exports() const { return exports_; }
  int allocated() const { return allocated_; }  // ever
  int64_t allocated_bytes() const { return memory_->allocated_bytes(); }

 private:
  const std::shared_ptr<SharedMemory> memory_ = std::make_shared<SharedMemory>();
  std::atomic<int> opened_{0};
  std::atomic<int> exports_{0};
  std::atomic<int> allocated_{0};
};

}  // namespace decant

#endif  // DECANT_TESTS_SUPPORT_FAKE_IPC_H_
