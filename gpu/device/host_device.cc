#include <sys/mman.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "gpu/device/device.h"
#include "gpu/device/host_stream.h"
#include "gpu/device/thread_team.h"

namespace decant {
namespace {

constexpr int64_t kLineBytes = 64;
constexpr int64_t kHugePageBytes = int64_t{2} << 20;

class HostEvent final : public Event {
 public:
  bool Ready() const override { return true; }
  absl::Status Wait() override { return absl::OkStatus(); }
};

class HostStream final : public Stream {
 public:
  explicit HostStream(Device& device) : device_(device) {}

  Device& device() override { return device_; }
  void Copy(void* destination, const void* source, int64_t bytes) override {
    if (bytes == 0) return;
    const HostAccess access(*this);
    std::memcpy(destination, source, static_cast<size_t>(bytes));
  }
  void Fill(void* destination, int value, int64_t bytes) override {
    if (bytes == 0) return;
    const HostAccess access(*this);
    std::memset(destination, value, static_cast<size_t>(bytes));
  }
  std::unique_ptr<Event> Record() override { return std::make_unique<HostEvent>(); }
  absl::Status Synchronize() override { return absl::OkStatus(); }

 private:
  Device& device_;
};

// What the system says it could give without swapping; -1 where it does not say.
int64_t AvailableBytes() {
  std::ifstream file("/proc/meminfo");
  std::string word;
  while (file >> word) {
    if (word != "MemAvailable:") continue;
    int64_t kibibytes = 0;
    return file >> kibibytes ? kibibytes * 1024 : -1;
  }
  return -1;
}

class HostDevice final : public Device {
 public:
  explicit HostDevice(int threads) : team_(threads) {}
  ~HostDevice() override { DECANT_CHECK_MSG(allocated_ == 0, "%lld bytes in use", static_cast<long long>(allocated_)); }

  DeviceKind kind() const override { return DeviceKind::kHost; }
  std::string name() const override { return "host"; }

  absl::StatusOr<Buffer> Allocate(int64_t bytes) override {
    if (bytes < 0) return absl::InvalidArgumentError(absl::StrCat("cannot allocate ", bytes, " bytes"));
    if (bytes == 0) return Buffer();
    const bool large = bytes >= kHugePageBytes;
    if (large) {
      // The system would promise memory that it does not have and kill the process later.
      const int64_t available = AvailableBytes();
      if (available >= 0 && bytes > available) return Exhausted(bytes, available);
    }
    const int64_t alignment = large ? kHugePageBytes : kLineBytes;
    const int64_t padded = (bytes + alignment - 1) / alignment * alignment;
    void* address = std::aligned_alloc(static_cast<size_t>(alignment), static_cast<size_t>(padded));
    if (address == nullptr) return Exhausted(bytes, AvailableBytes());
    // Weights and pages are read at random by the page; a refusal costs only speed.
    if (large) madvise(address, static_cast<size_t>(padded), MADV_HUGEPAGE);
    allocated_ += bytes;
    return Buffer(this, address, bytes);
  }
  std::unique_ptr<Stream> NewStream() override { return NewHostStream(*this); }
  int64_t allocated_bytes() const override { return allocated_; }
  int threads() const override { return team_.threads(); }
  void ParallelFor(int64_t count, const std::function<void(int64_t, int)>& body) override { team_.Run(count, body); }

 protected:
  void Free(void* address, int64_t bytes) override {
    std::free(address);
    allocated_ -= bytes;
  }

 private:
  static absl::Status Exhausted(int64_t bytes, int64_t available) {
    return absl::ResourceExhaustedError(absl::StrCat("host device: asked for ", bytes, " bytes, ", available,
                                                     " are free; use a smaller model, budget or run type"));
  }

  ThreadTeam team_;
  std::atomic<int64_t> allocated_{0};
};

}  // namespace

std::unique_ptr<Stream> NewHostStream(Device& device) { return std::make_unique<HostStream>(device); }

std::unique_ptr<Device> CreateHostDevice(int threads) {
  if (threads <= 0) threads = static_cast<int>(std::thread::hardware_concurrency());
  return std::make_unique<HostDevice>(threads < 1 ? 1 : threads);
}

}  // namespace decant
