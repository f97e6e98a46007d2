// Canonical keys of chunks: the same tokens under the same tenant, model and shard give the same 32 bytes in every
// process and language.
//
//   key(i) = SHA-256( "decant chunk v1\0"                          16 bytes
//                     parent                                       32: key(i - 1), zeros for the first chunk
//                     namespace                                    32: NamespaceOf(tenant), in every key
//                     model fingerprint                            32
//                     layers, q_heads, kv_heads, head_dim          4 x u32, of this shard
//                     shard rank, shard count, run type            3 x u32
//                     token count                                  u32
//                     token ids )                                  u32 each; all integers little-endian
//
// A segment is found wherever it stands, so its key commits to nothing before it:
//
//   segment key   = SHA-256( "decant segment v1\0"  18 bytes, then as above without the parent )
//
// tests/common/index/make_key_goldens.py writes the same bytes independently.
#ifndef DECANT_COMMON_INDEX_KEYS_H_
#define DECANT_COMMON_INDEX_KEYS_H_

#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/digest.h"
#include "common/compress/profile.h"
#include "common/kv/geometry.h"

namespace decant {

inline constexpr int32_t kDefaultChunkTokens = 64;

// Whose KV and of which model: everything that a key depends on besides tokens.
struct KeySpace {
  Digest tenant_namespace;  // NamespaceOf(tenant)
  Digest model_fingerprint;
  Geometry geometry;  // of the shard
  RunType run_type = RunType::kF32;
  int32_t shard_rank = 0;
  int32_t shard_count = 1;
};

// SHA-256("decant tenant v1\0" || tenant); "" is the default tenant. A plain function of the name: for servers without
// a secret, and for tests.
Digest NamespaceOf(absl::string_view tenant);

// The same under a secret of the servers that compute keys (all routers of a pool have the same one): HMAC-SHA-256 of
// the name. Who knows a tenant's name and tokens, but not the secret, can then not compute its keys. The tenant's name
// comes from the connection and never from a message. REQUIRES: at least 16 bytes of secret.
Digest SaltedNamespaceOf(absl::string_view secret, absl::string_view tenant);

// The key of one chunk of 1 to 2^32-1 tokens; ids are taken as u32.
Digest ChunkKey(const KeySpace& space, const Digest& parent, absl::Span<const int32_t> tokens);

// Keys of all whole chunks of a prompt, in order: tokens.size() / chunk_tokens of them. REQUIRES: chunk_tokens > 0.
std::vector<Digest> ChunkKeys(const KeySpace& space, absl::Span<const int32_t> tokens, int32_t chunk_tokens);

// The key of a run of tokens whatever stands before it. It never equals a chunk's key.
Digest SegmentKey(const KeySpace& space, absl::Span<const int32_t> tokens);

// How many chunks of a prompt may come from the pool: at least one token is left to compute.
inline int64_t ReusableChunks(int64_t prompt_tokens, int32_t chunk_tokens) {
  return prompt_tokens > 0 ? (prompt_tokens - 1) / chunk_tokens : 0;
}

}  // namespace decant

#endif  // DECANT_COMMON_INDEX_KEYS_H_
