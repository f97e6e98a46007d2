#include "tests/support/fake_ipc.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"

namespace decant {

// Every buffer is a file in memory of its own; its handle is the file's path.
class FakeIpc::Memory final : public Device {
 public:
  struct Region {
    int file = -1;
    int64_t bytes = 0;
  };

  ~Memory() override { DECANT_CHECK(regions_.empty()); }
  DeviceKind kind() const override { return DeviceKind::kCuda; }
  std::string name() const override { return "shared memory"; }
  absl::StatusOr<Buffer> Allocate(int64_t bytes) override {
    const int file = memfd_create("ring", MFD_CLOEXEC);
    DECANT_CHECK(file >= 0 && ftruncate(file, bytes) == 0);
    void* const address = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    DECANT_CHECK(address != MAP_FAILED);
    absl::MutexLock lock(&mutex_);
    regions_[static_cast<const char*>(address)] = Region{file, bytes};
    ++allocated_;
    return Buffer(this, address, bytes);
  }
  std::unique_ptr<Stream> NewStream() override { return nullptr; }
  int64_t allocated_bytes() const override { return 0; }
  int threads() const override { return 1; }
  void ParallelFor(int64_t count, const std::function<void(int64_t, int)>& body) override {
    for (int64_t i = 0; i < count; ++i) body(i, 0);
  }

  int allocated() {
    absl::MutexLock lock(&mutex_);
    return allocated_;
  }
  int freed() {
    absl::MutexLock lock(&mutex_);
    return freed_;
  }
  absl::StatusOr<IpcRegion> Find(const void* address) {
    absl::MutexLock lock(&mutex_);
    auto it = regions_.upper_bound(static_cast<const char*>(address));
    if (it != regions_.begin()) --it;
    if (it == regions_.end() || address < it->first || address >= it->first + it->second.bytes) {
      return absl::FailedPreconditionError("no memory that can be exported");
    }
    return IpcRegion{absl::StrCat("/proc/", getpid(), "/fd/", it->second.file), it->first, it->second.bytes};
  }

 protected:
  void Free(void* address, int64_t bytes) override {
    absl::MutexLock lock(&mutex_);
    const auto found = regions_.find(static_cast<const char*>(address));
    close(found->second.file);
    regions_.erase(found);
    ++freed_;
    munmap(address, static_cast<size_t>(bytes));
  }

 private:
  absl::Mutex mutex_;
  std::map<const char*, Region> regions_ ABSL_GUARDED_BY(mutex_);
  int allocated_ ABSL_GUARDED_BY(mutex_) = 0;
  int freed_ ABSL_GUARDED_BY(mutex_) = 0;
};

FakeIpc::FakeIpc() : memory_(std::make_unique<Memory>()) {}
FakeIpc::~FakeIpc() = default;

int FakeIpc::opened() {
  absl::MutexLock lock(&mutex_);
  return static_cast<int>(opened_.size());
}

int FakeIpc::exports() {
  absl::MutexLock lock(&mutex_);
  return exports_;
}

int FakeIpc::allocated() { return memory_->allocated(); }
int FakeIpc::freed() { return memory_->freed(); }

IpcFunctions FakeIpc::functions() {
  IpcFunctions table;
  table.allocate = [this](int64_t bytes) { return memory_->Allocate(bytes); };
  table.export_region = [this](const void* address) -> absl::StatusOr<IpcRegion> {
    auto region = memory_->Find(address);
    absl::MutexLock lock(&mutex_);
    if (region.ok()) ++exports_;
    return region;
  };
  table.open = [this](const std::string& handle) -> absl::StatusOr<const void*> {
    if (open_fails) return absl::FailedPreconditionError("the handle is of another host");
    const int file = open(handle.c_str(), O_RDWR | O_CLOEXEC);
    if (file < 0) return absl::FailedPreconditionError(absl::StrCat("nothing is exported as ", handle));
    struct stat about {};
    DECANT_CHECK(fstat(file, &about) == 0);
    const int flags = other_host ? MAP_PRIVATE : MAP_SHARED;
    void* const base = mmap(nullptr, static_cast<size_t>(about.st_size), PROT_READ | PROT_WRITE, flags, file, 0);
    close(file);
    DECANT_CHECK(base != MAP_FAILED);
    if (other_host) std::memset(base, 0, static_cast<size_t>(about.st_size));
    absl::MutexLock lock(&mutex_);
    opened_[base] = about.st_size;
    return base;
  };
  table.close = [this](const void* base) {
    absl::MutexLock lock(&mutex_);
    const auto found = opened_.find(base);
    DECANT_CHECK(found != opened_.end());
    munmap(const_cast<void*>(base), static_cast<size_t>(found->second));
    opened_.erase(found);
  };
  return table;
}

}  // namespace decant
