#include "common/index/keys.h"

#include <openssl/hmac.h>

#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/bytes.h"
#include "common/base/check.h"

namespace decant {
namespace {

constexpr absl::string_view kChunkTag("decant chunk v1\0", 16);
constexpr absl::string_view kSegmentTag("decant segment v1\0", 18);
constexpr absl::string_view kTenantTag("decant tenant v1\0", 17);

absl::string_view BytesOf(const Digest& digest) {
  return {reinterpret_cast<const char*>(digest.bytes.data()), digest.bytes.size()};
}

// What a key commits to besides the tokens and what stands before them.
void PutSpace(const KeySpace& space, size_t tokens, ByteWriter& writer) {
  writer.PutBytes(BytesOf(space.tenant_namespace));
  writer.PutBytes(BytesOf(space.model_fingerprint));
  for (const int32_t size :
       {space.geometry.layers, space.geometry.q_heads, space.geometry.kv_heads, space.geometry.head_dim,
        space.shard_rank, space.shard_count, static_cast<int32_t>(space.run_type)}) {
    writer.Put(static_cast<uint32_t>(size));
  }
  writer.Put(static_cast<uint32_t>(tokens));
}

// Everything in front of the token ids; the parent stands right behind the tag.
std::string Preamble(const KeySpace& space, const Digest& parent, size_t tokens) {
  std::string out;
  ByteWriter writer(out);
  writer.PutBytes(kChunkTag);
  writer.PutBytes(BytesOf(parent));
  PutSpace(space, tokens, writer);
  return out;
}

}  // namespace

Digest NamespaceOf(absl::string_view tenant) { return Sha256(absl::StrCat(kTenantTag, tenant)); }

Digest SaltedNamespaceOf(absl::string_view secret, absl::string_view tenant) {
  DECANT_CHECK(secret.size() >= 16);
  const std::string message = absl::StrCat(kTenantTag, tenant);
  Digest digest;
  unsigned int bytes = 0;
  const unsigned char* made =
      HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
           reinterpret_cast<const unsigned char*>(message.data()), message.size(), digest.bytes.data(), &bytes);
  DECANT_CHECK(made != nullptr && bytes == digest.bytes.size());
  return digest;
}

Digest ChunkKey(const KeySpace& space, const Digest& parent, absl::Span<const int32_t> tokens) {
  std::string bytes = Preamble(space, parent, tokens.size());
  bytes.append(reinterpret_cast<const char*>(tokens.data()), tokens.size() * sizeof(int32_t));
  return Sha256(bytes);
}

std::vector<Digest> ChunkKeys(const KeySpace& space, absl::Span<const int32_t> tokens, int32_t chunk_tokens) {
  const auto chunk = static_cast<size_t>(chunk_tokens);
  const size_t chunks = tokens.size() / chunk;
  const size_t token_bytes = chunk * sizeof(int32_t);
  std::vector<Digest> keys(chunks);
  // One buffer for all keys: only parent and tokens change from chunk to chunk.
  std::string bytes = Preamble(space, Digest{}, chunk);
  const size_t preamble = bytes.size();
  bytes.resize(preamble + token_bytes);
  for (size_t i = 0; i < chunks; ++i) {
    if (i > 0) std::memcpy(bytes.data() + kChunkTag.size(), keys[i - 1].bytes.data(), keys[i - 1].bytes.size());
    std::memcpy(bytes.data() + preamble, tokens.data() + i * chunk, token_bytes);
    keys[i] = Sha256(bytes);
  }
  return keys;
}

Digest SegmentKey(const KeySpace& space, absl::Span<const int32_t> tokens) {
  std::string bytes;
  ByteWriter writer(bytes);
  writer.PutBytes(kSegmentTag);
  PutSpace(space, tokens.size(), writer);
  bytes.append(reinterpret_cast<const char*>(tokens.data()), tokens.size() * sizeof(int32_t));
  return Sha256(bytes);
}

}  // namespace decant
