#ifndef DECANT_COMMON_STORE_BLOB_H_
#define DECANT_COMMON_STORE_BLOB_H_

#include <cstdint>
#include <cstring>
#include <memory>

#include "absl/strings/string_view.h"

namespace decant {

// The bytes of one frame, never changed once made. Copies share them: this is the one thing that may outlive its place
// in the store, while a message that reads it is on its way. Thread-safe.
class Blob {
 public:
  Blob() = default;
  static Blob CopyOf(absl::string_view bytes) {
    std::shared_ptr<char[]> memory(new char[bytes.size()]);
    if (!bytes.empty()) std::memcpy(memory.get(), bytes.data(), bytes.size());
    return Blob(std::move(memory), static_cast<int64_t>(bytes.size()));
  }

  absl::string_view view() const { return {memory_.get(), static_cast<size_t>(bytes_)}; }
  int64_t bytes() const { return bytes_; }
  const std::shared_ptr<const char[]>& memory() const { return memory_; }

 private:
  Blob(std::shared_ptr<const char[]> memory, int64_t bytes) : memory_(std::move(memory)), bytes_(bytes) {}

  std::shared_ptr<const char[]> memory_;
  int64_t bytes_ = 0;
};

}  // namespace decant

#endif  // DECANT_COMMON_STORE_BLOB_H_
