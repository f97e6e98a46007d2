#include "tests/support/launcher/launcher_device.h"

#include <atomic>

#include "common/base/check.h"
#include "gpu/device/host_stream.h"
#include "tests/support/protected_arena.h"

namespace decant {
namespace {

class FiberDevice final : public LauncherDevice {
 public:
  // The host's, counted.
  class CountingStream final : public Stream {
   public:
    explicit CountingStream(FiberDevice& device) : device_(device), stream_(NewHostStream(device)) {}

    Device& device() override { return device_; }
    void Copy(void* destination, const void* source, int64_t bytes) override {
      ++device_.copies_;
      stream_->Copy(destination, source, bytes);
    }
    void Fill(void* destination, int value, int64_t bytes) override {
      ++device_.copies_;
      stream_->Fill(destination, value, bytes);
    }
    std::unique_ptr<Event> Record() override {
      ++device_.waits_;
      return stream_->Record();
    }
    absl::Status Synchronize() override {
      ++device_.waits_;
      return stream_->Synchronize();
    }

   private:
    FiberDevice& device_;
    const std::unique_ptr<Stream> stream_;
  };

  explicit FiberDevice(const LauncherOptions& options) : options_(options), arena_("launcher", options.arena_bytes) {}

  DeviceKind kind() const override { return DeviceKind::kCuda; }
  std::string name() const override { return "launcher"; }
  absl::StatusOr<Buffer> Allocate(int64_t bytes) override {
    ++allocations_;
    return arena_.Allocate(this, bytes);
  }
  std::unique_ptr<Stream> NewStream() override { return std::make_unique<CountingStream>(*this); }
  int64_t allocated_bytes() const override { return arena_.allocated_bytes(); }
  int threads() const override { return 1; }
  void ParallelFor(int64_t, const std::function<void(int64_t, int)>&) override {
    DECANT_CHECK_MSG(false, "a host loop on device %s", name().c_str());
  }

  launcher::AccessRecorder& recorder() override { return recorder_; }
  Calls calls() const override { return Calls{launches_, allocations_, copies_, waits_}; }

  void Run(launcher::LaunchRequest request, const std::function<void()>& thread) {
    ++launches_;
    request.order = options_.order;
    request.seed = options_.seed + static_cast<uint64_t>(launches_);
    request.recorder = options_.record ? &recorder_ : nullptr;
    request.memory = arena_.address();
    request.memory_bytes = arena_.bytes();
    launcher::RunLaunch(request, thread);
  }

 protected:
  void Free(void* address, int64_t bytes) override { arena_.Free(address, bytes); }
  void BeginAccess() override { arena_.BeginAccess(); }
  void EndAccess() override { arena_.EndAccess(); }

 private:
  const LauncherOptions options_;
  ProtectedArena arena_;
  launcher::AccessRecorder recorder_;
  std::atomic<int64_t> launches_{0};
  std::atomic<int64_t> allocations_{0};
  std::atomic<int64_t> copies_{0};
  std::atomic<int64_t> waits_{0};
};

}  // namespace

std::unique_ptr<LauncherDevice> CreateLauncherDevice(const LauncherOptions& options) {
  return std::make_unique<FiberDevice>(options);
}

void launcher::RunOnDevice(Stream& stream, const char* kernel, dim3 grid, dim3 block, size_t shared_bytes,
                           const std::function<void()>& thread) {
  auto* const device = dynamic_cast<FiberDevice*>(&stream.device());
  DECANT_CHECK_MSG(device != nullptr, "kernel %s on device %s", kernel, stream.device().name().c_str());
  LaunchRequest request;
  request.kernel = kernel;
  request.grid = grid;
  request.block = block;
  request.shared_bytes = shared_bytes;
  const HostAccess access(stream);
  device->Run(request, thread);
}

}  // namespace decant
