// CUDA IPC over shared memory, on any device: what one side allocates the other maps at another address, in one process
// or in two on one host.
#ifndef DECANT_TESTS_SUPPORT_FAKE_IPC_H_
#define DECANT_TESTS_SUPPORT_FAKE_IPC_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "gpu/link/ipc_functions.h"

namespace decant {

// Must outlive the memory it allocated. Thread-safe.
class FakeIpc {
 public:
  FakeIpc();
  ~FakeIpc();

  IpcFunctions functions();
  std::atomic<bool> open_fails{false};
  std::atomic<bool> other_host{false};  // what is opened is somebody else's memory
  int opened();                         // and not closed
  int exports();
  int allocated();  // ever
  int freed();

 private:
  class Memory;  // the device that Buffers go back to

  std::unique_ptr<Memory> memory_;
  absl::Mutex mutex_;
  std::map<const void*, int64_t> opened_ ABSL_GUARDED_BY(mutex_);
  int exports_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace decant

#endif  // DECANT_TESTS_SUPPORT_FAKE_IPC_H_
