#include "tests/support/test_device.h"

#include "tests/support/protected_arena.h"

#include "gpu/device/host_stream.h"

namespace decant {
namespace {

class TestDevice final : public Device {
 public:
  TestDevice(int threads, int64_t arena_bytes) : host_(CreateHostDevice(threads)), arena_("test", arena_bytes) {}

  DeviceKind kind() const override { return DeviceKind::kHost; }
  std::string name() const override { return "test"; }
  absl::StatusOr<Buffer> Allocate(int64_t bytes) override { return arena_.Allocate(this, bytes); }
  std::unique_ptr<Stream> NewStream() override { return NewHostStream(*this); }
  int64_t allocated_bytes() const override { return arena_.allocated_bytes(); }
  int threads() const override { return host_->threads(); }
  void ParallelFor(int64_t count, const std::function<void(int64_t, int)>& body) override {
    host_->ParallelFor(count, body);
  }

 protected:
  void Free(void* address, int64_t bytes) override { arena_.Free(address, bytes); }
  void BeginAccess() override { arena_.BeginAccess(); }
  void EndAccess() override { arena_.EndAccess(); }

 private:
  std::unique_ptr<Device> host_;  // its threads
  ProtectedArena arena_;
};

}  // namespace

std::unique_ptr<Device> CreateTestDevice(int threads, int64_t arena_bytes) {
  return std::make_unique<TestDevice>(threads, arena_bytes);
}

}  // namespace decant
