#include "load_tests/peers/value.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/random.h"
#include "common/compress/profile.h"
#include "common/compress/recipe.h"
#include "common/kv/frame.h"

namespace decant {
namespace {

// The recipe by which the pool checks frames.
const Recipe& FullRecipe(const Geometry& geometry) {
  static Recipe* const recipe = new Recipe;
  static Geometry of;
  if (of.layers != geometry.layers || of.kv_heads != geometry.kv_heads) {
    const auto catalogue = Catalogue::BuiltIn();
    DECANT_CHECK(catalogue.ok());
    const auto profile = catalogue->FindFor("full", ModelOfValue(geometry));
    DECANT_CHECK(profile.ok());
    auto compiled = Compile(*profile, geometry, RunType::kBf16);
    DECANT_CHECK_MSG(compiled.ok(), "%s", compiled.status().ToString().c_str());
    *recipe = *std::move(compiled);
    of = geometry;
  }
  return *recipe;
}

std::string FrameOf(const Value& value, const Geometry& geometry, int32_t layer, uint64_t seed) {
  const Recipe& recipe = FullRecipe(geometry);
  FrameHeader header;
  header.formats[0] = recipe.high;
  header.provenance = Provenance::kExact;
  header.first_layer = layer;
  header.heads = geometry.kv_heads;
  header.head_dim = geometry.head_dim;
  header.first_position = value.first_token;
  header.span = kValueTokens;
  header.model_fingerprint = ModelOfValue(geometry).Prefix64();
  header.profile = recipe.digest;
  header.context = value.key;
  std::vector<int32_t> counts;
  for (int32_t head = 0; head < header.heads; ++head) {
    counts.push_back(kValueTokens);
    counts.insert(counts.end(), kFrameTiers - 1, 0);
  }
  const FrameLayout layout = LayOutFrame(header, counts);
  std::string frame(static_cast<size_t>(layout.bytes), '\0');
  const int64_t first = layout.runs.front().keys;
  for (int64_t at = first; at + 8 <= layout.bytes; at += 8) {
    const uint64_t word = MixBits(seed + static_cast<uint64_t>(layer), static_cast<uint64_t>(at));
    std::memcpy(frame.data() + at, &word, sizeof(word));
  }
  for (int64_t at = first; at + 32 <= layout.bytes; at += 4096) {
    std::memcpy(frame.data() + at, value.key.bytes.data(), value.key.bytes.size());
  }
  SealFrame(header, layout, reinterpret_cast<uint8_t*>(frame.data()));
  return frame;
}

}  // namespace

Geometry GeometryOfValue(int64_t bytes) {
  const int32_t heads = bytes < (int64_t{128} << 10) ? 4 : 8;
  const auto layers = static_cast<int32_t>(bytes / (int64_t{kValueTokens} * heads * 64 * 2 * 2));
  return Geometry{layers, heads, heads, 64};
}

Digest ModelOfValue(const Geometry& geometry) {
  return Sha256(absl::StrCat("load test of ", geometry.layers, " layers and ", geometry.kv_heads, " heads"));
}

std::vector<Value> ChainOf(uint64_t seed, int count, int64_t bytes) {
  const Geometry geometry = GeometryOfValue(bytes);
  std::vector<Value> chain;
  for (int i = 0; i < count; ++i) {
    Value value;
    value.key = Sha256(absl::StrCat("load test key ", seed, " ", i, " ", bytes));
    if (i > 0) value.parent = chain.back().key;
    value.first_token = i * kValueTokens;
    for (int32_t layer = 0; layer < geometry.layers; ++layer) {
      const std::string frame = FrameOf(value, geometry, layer, MixBits(seed, static_cast<uint64_t>(i)));
      value.frame_sizes.push_back(frame.size());
      value.bytes += frame;
    }
    chain.push_back(std::move(value));
  }
  return chain;
}

}  // namespace decant
