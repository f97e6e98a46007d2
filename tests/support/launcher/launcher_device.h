// A device of kind kCuda whose kernels run on the host, each thread of a block on a fiber: what passes on it needs no
// GPU, and what is wrong with it has an address. Its memory is inaccessible outside operations and copies, as that of
// the test device.
#ifndef DECANT_TESTS_SUPPORT_LAUNCHER_LAUNCHER_DEVICE_H_
#define DECANT_TESTS_SUPPORT_LAUNCHER_LAUNCHER_DEVICE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "gpu/device/device.h"
#include "tests/support/launcher/access_recorder.h"
#include "tests/support/launcher/block_runner.h"

namespace decant {

struct LauncherOptions {
  launcher::WarpOrder order = launcher::WarpOrder::kForward;
  uint64_t seed = 1;  // of the random order
  bool record = false;
  int64_t arena_bytes = int64_t{1} << 30;  // reserved, not resident
};

class LauncherDevice : public Device {
 public:
  // What its kernels asked of global memory, when it records.
  virtual launcher::AccessRecorder& recorder() = 0;
  // So far: kernels launched, and what else was asked of the device and its streams.
  struct Calls {
    int64_t launches = 0;
    int64_t allocations = 0;
    int64_t copies = 0;  // and fills
    int64_t waits = 0;   // streams synchronised and events recorded
  };
  virtual Calls calls() const = 0;
};

std::unique_ptr<LauncherDevice> CreateLauncherDevice(const LauncherOptions& options = {});

namespace launcher {

// Runs `thread` for every thread of the grid with the memory of the stream's device open. REQUIRES: the device is one
// of CreateLauncherDevice.
void RunOnDevice(Stream& stream, const char* kernel, dim3 grid, dim3 block, size_t shared_bytes,
                 const std::function<void()>& thread);

}  // namespace launcher
}  // namespace decant

#endif  // DECANT_TESTS_SUPPORT_LAUNCHER_LAUNCHER_DEVICE_H_
