#include "gpu/link/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/check.h"

namespace decant {
namespace {

// The size stays what it is: whoever has mapped the file would be killed by reading past a new end.
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

absl::Status Failed(absl::string_view what) {
  return absl::FailedPreconditionError(absl::StrCat("shared memory: ", what, ": ", std::strerror(errno)));
}

absl::StatusOr<IpcMapping> Map(int file, const std::string& handle) {
  struct stat about {};
  const int seals = fcntl(file, F_GET_SEALS);
  if (seals < 0 || (seals & kSeals) != kSeals || fstat(file, &about) != 0) {
    return absl::FailedPreconditionError(absl::StrCat("shared memory: ", handle, " is no memory of a fixed size"));
  }
  void* const base = mmap(nullptr, static_cast<size_t>(about.st_size), PROT_READ, MAP_SHARED, file, 0);
  if (base == MAP_FAILED) return Failed(handle);
  return IpcMapping{base, about.st_size};
}

}  // namespace

absl::StatusOr<IpcMapping> OpenSharedMemory(const std::string& handle) {
  if (!absl::StartsWith(handle, "/proc/")) {
    return absl::InvalidArgumentError(absl::StrCat("shared memory: '", handle, "' is no handle"));
  }
  const int file = open(handle.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) return Failed(handle);
  auto mapping = Map(file, handle);
  close(file);
  return mapping;
}

void CloseSharedMemory(const IpcMapping& mapping) {
  munmap(const_cast<void*>(mapping.base), static_cast<size_t>(mapping.bytes));
}

SharedMemory::~SharedMemory() { DECANT_CHECK_MSG(allocated_bytes() == 0, "shared memory is still in use"); }

absl::StatusOr<Buffer> SharedMemory::Allocate(int64_t bytes) {
  if (bytes < 0) return absl::InvalidArgumentError(absl::StrCat("cannot allocate ", bytes, " bytes"));
  if (bytes == 0) return Buffer();
  const int file = memfd_create("decant", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (file < 0) return absl::ResourceExhaustedError(absl::StrCat("memfd_create: ", std::strerror(errno)));
  void* address = MAP_FAILED;
  if (ftruncate(file, bytes) == 0 && fcntl(file, F_ADD_SEALS, kSeals) == 0) {
    address = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  }
  if (address == MAP_FAILED) {
    const absl::Status why =
        absl::ResourceExhaustedError(absl::StrCat("shared memory of ", bytes, " bytes: ", std::strerror(errno)));
    close(file);
    return why;
  }
  absl::MutexLock lock(&mutex_);
  regions_[static_cast<const char*>(address)] = Region{file, bytes};
  return Buffer(this, address, bytes);
}

void SharedMemory::Free(void* address, int64_t bytes) {
  absl::MutexLock lock(&mutex_);
  const auto found = regions_.find(static_cast<const char*>(address));
  DECANT_CHECK(found != regions_.end());
  munmap(address, static_cast<size_t>(bytes));
  close(found->second.file);
  regions_.erase(found);
}

int64_t SharedMemory::allocated_bytes() const {
  absl::MutexLock lock(&mutex_);
  int64_t bytes = 0;
  for (const auto& [address, region] : regions_) bytes += region.bytes;
  return bytes;
}

void SharedMemory::ParallelFor(int64_t count, const std::function<void(int64_t, int)>& body) {
  for (int64_t i = 0; i < count; ++i) body(i, 0);
}

absl::StatusOr<IpcRegion> SharedMemory::Export(const void* address) const {
  absl::MutexLock lock(&mutex_);
  auto it = regions_.upper_bound(static_cast<const char*>(address));
  if (it != regions_.begin()) --it;
  if (it == regions_.end() || address < it->first || address >= it->first + it->second.bytes) {
    return absl::FailedPreconditionError("shared memory: the address is in no buffer of it");
  }
  return IpcRegion{absl::StrCat("/proc/", getpid(), "/fd/", it->second.file), it->first, it->second.bytes};
}

IpcFunctions SharedMemoryIpc(std::shared_ptr<SharedMemory> memory) {
  IpcFunctions table;
  table.allocate = [memory](int64_t bytes) { return memory->Allocate(bytes); };
  table.export_region = [memory](const void* address) { return memory->Export(address); };
  table.open = OpenSharedMemory;
  table.close = CloseSharedMemory;
  return table;
}

}  // namespace decant
