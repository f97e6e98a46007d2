#include "tests/support/test_device.h"

#include <sys/mman.h>

#include <cstring>
#include <map>
#include <mutex>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "gpu/device/host_stream.h"

namespace decant {
namespace {

constexpr int64_t kAlignment = 4096;
// Opening and closing costs time per page of the system, so the arena asks for large ones.
constexpr int64_t kHugePage = int64_t{2} << 20;

class TestDevice final : public Device {
 public:
  TestDevice(int threads, int64_t arena_bytes) : host_(CreateHostDevice(threads)), arena_bytes_(arena_bytes) {
    mapped_bytes_ = arena_bytes + kHugePage;
    mapped_ = mmap(nullptr, static_cast<size_t>(mapped_bytes_), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
    DECANT_CHECK(mapped_ != MAP_FAILED);
    const auto address = reinterpret_cast<uintptr_t>(mapped_);
    const auto step = static_cast<uintptr_t>(kHugePage);
    arena_ = reinterpret_cast<char*>((address + step - 1) / step * step);
    // A refusal costs only time.
    madvise(arena_, static_cast<size_t>(arena_bytes), MADV_HUGEPAGE);
    free_[0] = arena_bytes;
  }
  ~TestDevice() override {
    DECANT_CHECK_MSG(allocated_ == 0, "%lld bytes in use", static_cast<long long>(allocated_));
    DECANT_CHECK_MSG(holders_ == 0, "%d holders of access", holders_);
    munmap(mapped_, static_cast<size_t>(mapped_bytes_));
  }

  DeviceKind kind() const override { return DeviceKind::kHost; }
  std::string name() const override { return "test"; }

  absl::StatusOr<Buffer> Allocate(int64_t bytes) override {
    if (bytes < 0) return absl::InvalidArgumentError(absl::StrCat("cannot allocate ", bytes, " bytes"));
    if (bytes == 0) return Buffer();
    int64_t offset = -1;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      offset = Take(Padded(bytes));
      if (offset < 0) {
        return absl::ResourceExhaustedError(
            absl::StrCat("test device: asked for ", bytes, " bytes, ", arena_bytes_ - taken_, " are free"));
      }
      allocated_ += bytes;
    }
    BeginAccess();
    std::memset(arena_ + offset, 0xA5, static_cast<size_t>(bytes));
    EndAccess();
    return Buffer(this, arena_ + offset, bytes);
  }
  std::unique_ptr<Stream> NewStream() override { return NewHostStream(*this); }
  int64_t allocated_bytes() const override {
    const std::lock_guard<std::mutex> lock(mutex_);
    return allocated_;
  }
  int threads() const override { return host_->threads(); }
  void ParallelFor(int64_t count, const std::function<void(int64_t, int)>& body) override {
    host_->ParallelFor(count, body);
  }

 protected:
  void Free(void* address, int64_t bytes) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    allocated_ -= bytes;
    taken_ -= Padded(bytes);
    Give(static_cast<char*>(address) - arena_, Padded(bytes));
  }
  void BeginAccess() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (holders_++ == 0) Protect(PROT_READ | PROT_WRITE);
  }
  void EndAccess() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (--holders_ == 0) Protect(PROT_NONE);
  }

 private:
  static int64_t Padded(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

  void Protect(int protection) { DECANT_CHECK(mprotect(arena_, static_cast<size_t>(arena_bytes_), protection) == 0); }
  // First fit; -1 when nothing fits.
  int64_t Take(int64_t bytes) {
    for (auto it = free_.begin(); it != free_.end(); ++it) {
      if (it->second < bytes) continue;
      const auto [offset, size] = *it;
      free_.erase(it);
      if (size > bytes) free_[offset + bytes] = size - bytes;
      taken_ += bytes;
      return offset;
    }
    return -1;
  }
  void Give(int64_t offset, int64_t bytes) {
    auto it = free_.emplace(offset, bytes).first;
    if (const auto next = std::next(it); next != free_.end() && offset + bytes == next->first) {
      it->second += next->second;
      free_.erase(next);
    }
    if (it != free_.begin()) {
      if (const auto previous = std::prev(it); previous->first + previous->second == it->first) {
        previous->second += it->second;
        free_.erase(it);
      }
    }
  }

  std::unique_ptr<Device> host_;  // its threads
  const int64_t arena_bytes_;
  void* mapped_ = nullptr;
  int64_t mapped_bytes_ = 0;
  char* arena_ = nullptr;
  mutable std::mutex mutex_;         // guards what follows
  std::map<int64_t, int64_t> free_;  // offset -> bytes
  int64_t taken_ = 0;                // padded
  int64_t allocated_ = 0;            // as asked for
  int holders_ = 0;
};

}  // namespace

std::unique_ptr<Device> CreateTestDevice(int threads, int64_t arena_bytes) {
  return std::make_unique<TestDevice>(threads, (arena_bytes + kAlignment - 1) / kAlignment * kAlignment);
}

}  // namespace decant
