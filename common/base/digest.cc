#include "common/base/digest.h"

#include <openssl/evp.h>

#include <memory>

#include "absl/strings/escaping.h"
#include "common/base/check.h"

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

// OpenSSL looks an algorithm up by its name whenever it is not given one, and makes a context whenever it is not lent
// one: both take longer than hashing a chunk.
Digest Sha256(absl::string_view data) {
  static const EVP_MD* const sha256 = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  thread_local const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  Digest digest;
  unsigned int bytes = 0;
  const bool hashed = EVP_DigestInit_ex2(context.get(), sha256, nullptr) == 1 &&
                      EVP_DigestUpdate(context.get(), data.data(), data.size()) == 1 &&
                      EVP_DigestFinal_ex(context.get(), digest.bytes.data(), &bytes) == 1;
  DECANT_CHECK(hashed && bytes == digest.bytes.size());
  return digest;
}

}  // namespace decant
