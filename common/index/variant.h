// A variant: one stored form of a chunk, and what may be said about it.
#ifndef DECANT_COMMON_INDEX_VARIANT_H_
#define DECANT_COMMON_INDEX_VARIANT_H_

#include <cstdint>
#include <string>

#include "absl/types/span.h"
#include "common/base/digest.h"
#include "common/kv/receipt.h"
#include "common/kv/tier.h"

namespace decant {

struct Variant {
  uint64_t entry = 0;  // of the store that holds its bytes
  Digest key;
  Digest parent;   // zeros for a prompt's first chunk
  Digest model;    // fingerprint
  Digest profile;  // digest of the profile that encoded it
  Digest context;  // ContextOf the chunks it was computed over; zeros when all of them were exact
  std::string profile_name;
  int32_t first_token = 0;
  int32_t tokens = 0;
  Provenance provenance = Provenance::kUnspecified;
  double quality = 0;        // in [0, 1]; 0 when it was never measured
  int64_t bytes = 0;         // of its frames
  uint32_t tenant = 0;       // whose it is: TenantTable's number
  Tier tier = Tier::kHost;   // the nearest one that has its bytes, as far as is known
  std::string encoded_from;  // profiles it was stored in before, "full,k8v4" for two steps down; empty: as it came

  // As computed by the model over an exact prefix: what a floor of 1 asks for.
  bool exact() const { return provenance == Provenance::kExact && context.IsZero(); }
};

// SHA-256("decant variant v1\0" || profile || context): tells the variants of one key apart.
Digest VariantDigest(const Digest& profile, const Digest& context);

// A loaded chunk as those who compute behind it see it.
struct LoadedChunk {
  Digest key;
  Digest variant;      // VariantDigest
  bool exact = false;  // Variant::exact(); to a worker: every frame of it says Provenance::kExact
};

// What a chunk is computed over when `prefix` was loaded before it, in order from token 0: zeros when every chunk of it
// is exact (the KV is then what a cold run would give), else SHA-256("decant context v1\0" || key || variant of each).
// All chunks of one prompt behind the prefix have this one context: they are computed over one another's unquantised
// KV.
Digest ContextOf(absl::Span<const LoadedChunk> prefix);

}  // namespace decant

#endif  // DECANT_COMMON_INDEX_VARIANT_H_
