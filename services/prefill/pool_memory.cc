#include "services/prefill/pool_memory.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/base/crc32c.h"
#include "common/base/status_macros.h"

namespace decant {
namespace {

constexpr size_t kMostRegions = 8;
constexpr size_t kMostSpareBytes = size_t{32} << 20;
constexpr size_t kUnit = size_t{64} << 10;

// Piece by piece, so that the checksum reads what the copy has just brought into the caches; and it stays there for who
// asked for it.
uint32_t CopyToUse(char* to, const char* from, size_t bytes) {
  constexpr size_t kPiece = size_t{16} << 10;
  uint32_t crc = 0;
  for (size_t at = 0; at < bytes; at += kPiece) {
    const size_t here = std::min(kPiece, bytes - at);
    std::memcpy(to + at, from + at, here);
    crc = Crc32c(to + at, here, crc);
  }
  return crc;
}

}  // namespace

// Of about the size that is asked for: not much larger, or small frames would hold large memory.
std::shared_ptr<char[]> SpareMemory::Take(int64_t bytes) {
  const size_t size = (static_cast<size_t>(bytes) + kUnit - 1) / kUnit * kUnit;
  std::unique_ptr<char[]> memory;
  {
    absl::MutexLock lock(&mutex_);
    if (const auto found = spare_.find(size); found != spare_.end()) {
      memory = std::move(found->second);
      spare_.erase(found);
      spare_bytes_ -= size;
    }
  }
  if (memory == nullptr) memory.reset(new char[size]);
  return std::shared_ptr<char[]>(memory.release(), [self = shared_from_this(), size](char* given) {
    self->Give(std::unique_ptr<char[]>(given), size);
  });
}

void SpareMemory::Give(std::unique_ptr<char[]> memory, size_t bytes) {
  absl::MutexLock lock(&mutex_);
  if (spare_bytes_ + bytes > kMostSpareBytes) return;
  spare_bytes_ += bytes;
  spare_.emplace(bytes, std::move(memory));
}

absl::StatusOr<Blob> MappedRegion::Copy(absl::Span<const Place> places, BlobMemory& where) const {
  const auto region = static_cast<uint64_t>(mapping_.bytes);
  uint64_t bytes = 0;
  for (const Place& place : places) {
    if (place.offset > region || place.bytes > region - place.offset) {
      return absl::InvalidArgumentError(
          absl::StrCat("a frame of ", place.bytes, " bytes at ", place.offset, " of a region of ", region));
    }
    bytes += place.bytes;
  }
  const Place* wrong = nullptr;
  const Blob blob = Blob::Make(
      static_cast<int64_t>(bytes),
      [&](char* to) {
        uint32_t whole = 0;
        for (const Place& place : places) {
          const auto size = static_cast<size_t>(place.bytes);
          const uint32_t crc = CopyToUse(to, static_cast<const char*>(mapping_.base) + place.offset, size);
          if (crc != place.crc32c && wrong == nullptr) wrong = &place;
          whole = JoinCrc32c(whole, crc, size);
          to += size;
        }
        return whole;
      },
      &where);
  if (wrong == nullptr) return blob;
  return absl::DataLossError(
      absl::StrCat("the ", wrong->bytes, " bytes at ", wrong->offset,
                   " of the pool's memory are not those of the frame; it was damaged, or given up "
                   "while it was read"));
}

absl::StatusOr<std::shared_ptr<const MappedRegion>> PoolMemory::Open(const std::string& handle, const std::string& id) {
  absl::MutexLock lock(&mutex_);
  for (auto it = recent_.begin(); it != recent_.end(); ++it) {
    if (it->first != id) continue;
    recent_.splice(recent_.begin(), recent_, it);
    return it->second;
  }
  DECANT_ASSIGN_OR_RETURN(const IpcMapping mapping, OpenSharedMemory(handle));
  auto region = std::make_shared<const MappedRegion>(mapping);
  if (id.size() != kRegionIdBytes || mapping.bytes < static_cast<int64_t>(id.size()) ||
      id != absl::string_view(static_cast<const char*>(mapping.base), id.size())) {
    return absl::FailedPreconditionError(absl::StrCat(handle, " is another region on this host"));
  }
  recent_.emplace_front(id, region);
  if (recent_.size() > kMostRegions) recent_.pop_back();
  return region;
}

}  // namespace decant
