#include "common/base/digest.h"

#include <openssl/sha.h>

#include "absl/strings/escaping.h"

namespace decant {

std::string Digest::Hex() const {
  return absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

std::optional<Digest> Digest::FromHex(absl::string_view hex) {
  Digest digest;
  if (hex.size() != 2 * digest.bytes.size()) return std::nullopt;
  const std::string bytes = absl::HexStringToBytes(hex);
  std::memcpy(digest.bytes.data(), bytes.data(), digest.bytes.size());
  if (digest.Hex() != hex) return std::nullopt;
  return digest;
}

Digest Sha256(absl::string_view data) {
  Digest digest;
  SHA256(reinterpret_cast<const unsigned char*>(data.data()), data.size(), digest.bytes.data());
  return digest;
}

}  // namespace decant
