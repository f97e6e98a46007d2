#include "common/index/variant.h"

#include <algorithm>
#include <string>

#include "absl/strings/string_view.h"
#include "common/base/bytes.h"

namespace decant {
namespace {

constexpr absl::string_view kVariantTag("decant variant v1\0", 18);
constexpr absl::string_view kContextTag("decant context v1\0", 18);

void PutDigest(const Digest& digest, ByteWriter& writer) {
  writer.PutBytes({reinterpret_cast<const char*>(digest.bytes.data()), digest.bytes.size()});
}

}  // namespace

Digest VariantDigest(const Digest& profile, const Digest& context) {
  std::string bytes;
  ByteWriter writer(bytes);
  writer.PutBytes(kVariantTag);
  PutDigest(profile, writer);
  PutDigest(context, writer);
  return Sha256(bytes);
}

Digest ContextOf(absl::Span<const LoadedChunk> prefix) {
  if (std::all_of(prefix.begin(), prefix.end(), [](const LoadedChunk& chunk) { return chunk.exact; })) return {};
  std::string bytes;
  ByteWriter writer(bytes);
  writer.PutBytes(kContextTag);
  for (const LoadedChunk& chunk : prefix) {
    PutDigest(chunk.key, writer);
    PutDigest(chunk.variant, writer);
  }
  return Sha256(bytes);
}

}  // namespace decant
