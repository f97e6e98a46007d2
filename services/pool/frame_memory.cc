#include "services/pool/frame_memory.h"

#include <cstring>
#include <random>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace decant {
namespace {

constexpr int64_t kAlignment = 64;

std::string NewId() {
  std::random_device device;
  std::string id(kRegionIdBytes, '\0');
  for (char& c : id) c = static_cast<char>(device());
  return id;
}

}  // namespace

absl::StatusOr<std::shared_ptr<FrameMemory>> FrameMemory::Create(int64_t bytes) {
  auto memory = std::make_shared<SharedMemory>();
  DECANT_ASSIGN_OR_RETURN(Buffer buffer, memory->Allocate(bytes + kAlignment));
  DECANT_ASSIGN_OR_RETURN(IpcRegion region, memory->Export(buffer.As<char>()));
  return std::shared_ptr<FrameMemory>(new FrameMemory(std::move(memory), std::move(buffer), std::move(region.handle)));
}

FrameMemory::FrameMemory(std::shared_ptr<SharedMemory> memory, Buffer buffer, std::string handle)
    : memory_(std::move(memory)),
      buffer_(std::move(buffer)),
      handle_(std::move(handle)),
      id_(NewId()),
      free_(buffer_.bytes(), kAlignment) {
  static_assert(kRegionIdBytes <= kAlignment);
  absl::MutexLock lock(&mutex_);
  DECANT_CHECK(free_.Take(kAlignment) == 0);
  std::memcpy(buffer_.As<char>(), id_.data(), id_.size());
}

std::shared_ptr<char[]> FrameMemory::Take(int64_t bytes) {
  int64_t offset = -1;
  if (bytes > 0) {
    absl::MutexLock lock(&mutex_);
    offset = free_.Take(bytes);
  }
  if (offset < 0) return nullptr;
  return std::shared_ptr<char[]>(buffer_.As<char>(offset),
                                 [self = shared_from_this(), offset, bytes](char*) { self->Give(offset, bytes); });
}

void FrameMemory::Give(int64_t offset, int64_t bytes) {
  absl::MutexLock lock(&mutex_);
  free_.Give(offset, bytes);
}

std::optional<uint64_t> FrameMemory::OffsetOf(const Blob& blob) const {
  const char* const begin = buffer_.As<char>();
  const char* const at = blob.view().data();
  if (at < begin || at >= begin + buffer_.bytes()) return std::nullopt;
  return static_cast<uint64_t>(at - begin);
}

}  // namespace decant
