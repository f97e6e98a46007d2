#include "gpu/link/device_mover.h"

#include <algorithm>

#include "common/base/crc32c.h"
#include "common/base/status_macros.h"

namespace decant {
namespace {

constexpr int64_t kPieceBytes = int64_t{256} << 10;  // checksummed while it is in the second-level cache

}  // namespace

DeviceMover::DeviceMover(Device& device) : stream_(device.NewStream()) {}

absl::Status DeviceMover::Copy(MemoryRef to, ConstMemoryRef from) {
  absl::MutexLock lock(&mutex_);
  stream_->Copy(to.address, from.address, from.bytes);
  return stream_->Synchronize();
}

absl::StatusOr<uint32_t> DeviceMover::Checksum(ConstMemoryRef bytes, uint32_t crc) {
  if (bytes.space == MemorySpace::kHost) return Crc32c(bytes.address, static_cast<size_t>(bytes.bytes), crc);
  absl::MutexLock lock(&mutex_);
  piece_.resize(static_cast<size_t>(kPieceBytes));
  for (int64_t at = 0; at < bytes.bytes; at += kPieceBytes) {
    const int64_t here = std::min(kPieceBytes, bytes.bytes - at);
    stream_->Copy(piece_.data(), static_cast<const uint8_t*>(bytes.address) + at, here);
    DECANT_RETURN_IF_ERROR(stream_->Synchronize());
    crc = Crc32c(piece_.data(), static_cast<size_t>(here), crc);
  }
  return crc;
}

}  // namespace decant
