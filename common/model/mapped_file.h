#ifndef DECANT_COMMON_MODEL_MAPPED_FILE_H_
#define DECANT_COMMON_MODEL_MAPPED_FILE_H_

#include <cstddef>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace decant {

// A whole file mapped read-only; move-only. Who shortens the file while it is mapped ends the process that reads it.
class MappedFile {
 public:
  // NOT_FOUND when `path` cannot be opened or is no file.
  static absl::StatusOr<MappedFile> Open(const std::string& path);
  MappedFile(MappedFile&& other) noexcept
      : address_(std::exchange(other.address_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  MappedFile& operator=(MappedFile&& other) noexcept {
    std::swap(address_, other.address_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~MappedFile();

  absl::string_view bytes() const { return absl::string_view(static_cast<const char*>(address_), size_); }
  // Drops the pages that are in memory; they are read again when touched.
  void ReleaseMemory() const;

 private:
  MappedFile(void* address, size_t size) : address_(address), size_(size) {}

  void* address_;  // null for an empty file
  size_t size_;
};

}  // namespace decant

#endif  // DECANT_COMMON_MODEL_MAPPED_FILE_H_
