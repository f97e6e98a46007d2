#ifndef DECANT_COMMON_STORE_BLOB_H_
#define DECANT_COMMON_STORE_BLOB_H_

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "common/base/crc32c.h"

namespace decant {

// Where the bytes of blobs lie, for those who care. Thread-safe.
class BlobMemory {
 public:
  virtual ~BlobMemory() = default;
  // Null when there is no room left.
  virtual std::shared_ptr<char[]> Take(int64_t bytes) = 0;
};

// The bytes of one frame, never changed once made. Copies share them: this is the one thing that may outlive its place
// in the store, while a message that reads it is on its way. Thread-safe.
class Blob {
 public:
  Blob() = default;
  // `fill(memory)` writes `bytes` bytes and returns their CRC-32C. They lie in `where` when that is given and has room.
  static Blob Make(int64_t bytes, absl::FunctionRef<uint32_t(char*)> fill, BlobMemory* where = nullptr) {
    std::shared_ptr<char[]> memory = where == nullptr ? nullptr : where->Take(bytes);
    if (memory == nullptr) memory.reset(new char[static_cast<size_t>(bytes)]);
    const uint32_t crc32c = fill(memory.get());
    return Blob(std::move(memory), bytes, crc32c);
  }
  static Blob CopyOf(absl::string_view bytes, BlobMemory* where = nullptr) {
    return Make(
        static_cast<int64_t>(bytes.size()),
        [&](char* memory) { return CopyWithCrc32c(memory, bytes.data(), bytes.size()); }, where);
  }

  absl::string_view view() const { return {memory_.get(), static_cast<size_t>(bytes_)}; }
  int64_t bytes() const { return bytes_; }
  // Of its bytes as they came: a reader that compares it sees what has happened to them since.
  uint32_t crc32c() const { return crc32c_; }
  const std::shared_ptr<const char[]>& memory() const { return memory_; }

 private:
  Blob(std::shared_ptr<const char[]> memory, int64_t bytes, uint32_t crc32c)
      : memory_(std::move(memory)), bytes_(bytes), crc32c_(crc32c) {}

  std::shared_ptr<const char[]> memory_;
  int64_t bytes_ = 0;
  uint32_t crc32c_ = 0;
};

}  // namespace decant

#endif  // DECANT_COMMON_STORE_BLOB_H_
