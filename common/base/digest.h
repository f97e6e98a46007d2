#ifndef DECANT_COMMON_BASE_DIGEST_H_
#define DECANT_COMMON_BASE_DIGEST_H_

#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace decant {

// A SHA-256 value: identity of a chunk, a profile or a model.
struct Digest {
  std::array<uint8_t, 32> bytes{};

  bool IsZero() const { return *this == Digest{}; }
  std::string Hex() const;                                      // 64 lower-case characters
  static std::optional<Digest> FromHex(absl::string_view hex);  // none unless those
  // The first 8 bytes, little end first: a short name for maps and logs, never an identity.
  uint64_t Prefix64() const {
    uint64_t value;
    std::memcpy(&value, bytes.data(), 8);
    return value;
  }
  friend bool operator==(const Digest& a, const Digest& b) { return a.bytes == b.bytes; }
  friend bool operator!=(const Digest& a, const Digest& b) { return !(a == b); }
  friend bool operator<(const Digest& a, const Digest& b) { return a.bytes < b.bytes; }
  template <typename H>
  friend H AbslHashValue(H h, const Digest& d) {
    return H::combine(std::move(h), d.Prefix64());
  }
};

// SHA-256 of `data` (OpenSSL, which uses the processor's SHA instructions).
Digest Sha256(absl::string_view data);

}  // namespace decant

#endif  // DECANT_COMMON_BASE_DIGEST_H_
