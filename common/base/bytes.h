// Little-endian writing and bounded reading of wire and file bytes.
#ifndef DECANT_COMMON_BASE_BYTES_H_
#define DECANT_COMMON_BASE_BYTES_H_

#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>

#include "absl/strings/string_view.h"
#include "common/base/digest.h"

namespace decant {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "stored bytes are little-endian and copied as they are");

// Appends fixed-width values to a string.
class ByteWriter {
 public:
  explicit ByteWriter(std::string& out) : out_(out) {}

  template <typename T>
  void Put(T value) {
    static_assert(std::is_trivially_copyable_v<T>);
    out_.append(reinterpret_cast<const char*>(&value), sizeof(T));
  }
  void PutBytes(absl::string_view bytes) { out_.append(bytes.data(), bytes.size()); }
  // A 32-bit length, then the bytes.
  void PutString(absl::string_view bytes) {
    Put(static_cast<uint32_t>(bytes.size()));
    PutBytes(bytes);
  }

 private:
  std::string& out_;
};

// Reads values from borrowed bytes; once a read passes the end every later read fails too, so that one check at the end
// is enough.
class ByteReader {
 public:
  explicit ByteReader(absl::string_view bytes) : rest_(bytes) {}

  template <typename T>
  T Get() {
    static_assert(std::is_trivially_copyable_v<T>);
    T value{};
    if (Take(sizeof(T))) std::memcpy(&value, taken_.data(), sizeof(T));
    return value;
  }
  absl::string_view GetBytes(uint64_t count) { return Take(count) ? taken_ : absl::string_view(); }
  absl::string_view GetString() { return GetBytes(Get<uint32_t>()); }

  bool ok() const { return ok_; }
  absl::string_view rest() const { return rest_; }

 private:
  bool Take(uint64_t count) {
    if (!ok_ || count > rest_.size()) {
      ok_ = false;
      return false;
    }
    taken_ = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return true;
  }

  absl::string_view rest_;
  absl::string_view taken_;
  bool ok_ = true;
};

}  // namespace decant

#endif  // DECANT_COMMON_BASE_BYTES_H_
