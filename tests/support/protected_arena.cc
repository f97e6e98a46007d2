#include "tests/support/protected_arena.h"

#include <sys/mman.h>

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define DECANT_ARENA_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define DECANT_ARENA_ASAN 1
#endif
#if defined(DECANT_ARENA_ASAN)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#endif

namespace decant {
namespace {

constexpr int64_t kAlignment = 4096;
// Opening and closing costs time per page of the system, so the arena asks for large ones.
constexpr int64_t kHugePage = int64_t{2} << 20;

int64_t Padded(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

ProtectedArena::ProtectedArena(std::string name, int64_t bytes)
    : name_(std::move(name)), bytes_(Padded(bytes)), free_(bytes_, kAlignment) {
  mapped_bytes_ = bytes_ + kHugePage;
  mapped_ =
      mmap(nullptr, static_cast<size_t>(mapped_bytes_), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  DECANT_CHECK(mapped_ != MAP_FAILED);
  const auto address = reinterpret_cast<uintptr_t>(mapped_);
  const auto step = static_cast<uintptr_t>(kHugePage);
  arena_ = reinterpret_cast<char*>((address + step - 1) / step * step);
  // A refusal costs only time.
  madvise(arena_, static_cast<size_t>(bytes_), MADV_HUGEPAGE);
  ASAN_POISON_MEMORY_REGION(arena_, static_cast<size_t>(bytes_));
}

ProtectedArena::~ProtectedArena() {
  DECANT_CHECK_MSG(allocated_ == 0, "%lld bytes in use", static_cast<long long>(allocated_));
  DECANT_CHECK_MSG(holders_ == 0, "%d holders of access", holders_);
  ASAN_UNPOISON_MEMORY_REGION(arena_, static_cast<size_t>(bytes_));
  munmap(mapped_, static_cast<size_t>(mapped_bytes_));
}

absl::StatusOr<Buffer> ProtectedArena::Allocate(Device* device, int64_t bytes) {
  if (bytes < 0) return absl::InvalidArgumentError(absl::StrCat("cannot allocate ", bytes, " bytes"));
  if (bytes == 0) return Buffer();
  int64_t offset = -1;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    offset = free_.Take(bytes);
    if (offset < 0) {
      return absl::ResourceExhaustedError(
          absl::StrCat(name_, " device: asked for ", bytes, " bytes, ", free_.free_bytes(), " are free"));
    }
    allocated_ += bytes;
  }
  ASAN_UNPOISON_MEMORY_REGION(arena_ + offset, static_cast<size_t>(bytes));
  BeginAccess();
  std::memset(arena_ + offset, 0xA5, static_cast<size_t>(bytes));
  EndAccess();
  return Buffer(device, arena_ + offset, bytes);
}

void ProtectedArena::Free(void* address, int64_t bytes) {
  ASAN_POISON_MEMORY_REGION(address, static_cast<size_t>(Padded(bytes)));
  const std::lock_guard<std::mutex> lock(mutex_);
  allocated_ -= bytes;
  free_.Give(static_cast<char*>(address) - arena_, bytes);
}

void ProtectedArena::BeginAccess() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (holders_++ == 0) Protect(PROT_READ | PROT_WRITE);
}

void ProtectedArena::EndAccess() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (--holders_ == 0) Protect(PROT_NONE);
}

int64_t ProtectedArena::allocated_bytes() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return allocated_;
}

void ProtectedArena::Protect(int protection) {
  DECANT_CHECK(mprotect(arena_, static_cast<size_t>(bytes_), protection) == 0);
}

}  // namespace decant
