#include "services/router/tenant_secret.h"

#include <fstream>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace decant {

absl::StatusOr<std::string> ReadTenantSecret(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string secret(kMostSecretBytes + 1, '\0');
  if (!file || (!file.read(secret.data(), static_cast<std::streamsize>(secret.size())) && !file.eof())) {
    return absl::NotFoundError(absl::StrCat(path, " cannot be read; name a file with ", kLeastSecretBytes,
                                            " random bytes or more, as `openssl rand -hex 32` writes them"));
  }
  secret.resize(static_cast<size_t>(file.gcount()));
  absl::StripTrailingAsciiWhitespace(&secret);
  if (secret.size() < kLeastSecretBytes || secret.size() > kMostSecretBytes) {
    return absl::InvalidArgumentError(absl::StrCat(path, " holds ", secret.size(), " bytes; a secret has ",
                                                   kLeastSecretBytes, " to ", kMostSecretBytes));
  }
  return secret;
}

}  // namespace decant
