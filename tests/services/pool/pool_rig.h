// What tests of the pool share: a small model, prompts with known frames, and the calls of a publisher and a fetcher.
#ifndef DECANT_TESTS_SERVICES_POOL_POOL_RIG_H_
#define DECANT_TESTS_SERVICES_POOL_POOL_RIG_H_

#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/half.h"
#include "common/base/random.h"
#include "common/index/keys.h"
#include "common/kv/frame.h"
#include "services/pool/pool.h"

namespace decant::pool_rig {

inline constexpr int32_t kChunkTokens = 16;
inline const absl::Time kStart = absl::FromUnixSeconds(1'000'000);

inline PoolModel Model() {
  PoolModel model;
  model.fingerprint = Sha256("rig model");
  model.geometry = Geometry{3, 4, 2, 32};
  model.run_type = RunType::kBf16;
  model.name = "rig";
  return model;
}

inline Catalogue TestCatalogue() { return Catalogue::BuiltIn().value(); }

// Made up; only tests use it.
inline ProfileTables TestTables() {
  ProfileTables tables;
  ProfileTable table;
  table.model = "rig";
  table.fingerprint = Model().fingerprint;
  table.profiles = {{"full", 1, 1, 1, 8e9, 1, std::nullopt},
                    {"k8v4", 0.98, 2, 2, 2e9, 0.9, HitCost{0.98, 2, 2}},
                    {"k4v2", 0.7, 4, 3.5, 2e9, 0.8, HitCost{0.7, 4, 3.5}},
                    {"diffkv", 0.95, 4, 3, 1e9, 0.8, HitCost{0.94, 3, 3}}};
  (void)tables.Add(std::move(table));
  return tables;
}

struct Prompt {
  std::vector<int32_t> tokens;
  std::vector<Digest> keys;
};

inline Prompt PromptOf(std::vector<int32_t> tokens, const std::string& tenant = "") {
  const PoolModel model = Model();
  KeySpace space;
  space.tenant_namespace = NamespaceOf(tenant);
  space.model_fingerprint = model.fingerprint;
  space.geometry = model.geometry;
  space.run_type = model.run_type;
  Prompt prompt;
  prompt.keys = ChunkKeys(space, tokens, kChunkTokens);
  prompt.tokens = std::move(tokens);
  return prompt;
}

// `chunks` whole chunks and one token, told apart by `seed`.
inline Prompt PromptOf(uint64_t seed, int chunks, const std::string& tenant = "") {
  std::vector<int32_t> tokens;
  for (int i = 0; i < chunks * kChunkTokens + 1; ++i) {
    tokens.push_back(static_cast<int32_t>(MixBits(seed, static_cast<uint64_t>(i)) % 1000));
  }
  return PromptOf(std::move(tokens), tenant);
}

inline const Recipe& RecipeOf(const std::string& profile) {
  static std::map<std::string, Recipe>* const recipes = new std::map<std::string, Recipe>;
  const auto [it, is_new] = recipes->try_emplace(profile);
  if (is_new) {
    const Profile found = TestCatalogue().FindFor(profile, Model().fingerprint).value();
    it->second = Compile(found, Model().geometry, Model().run_type).value();
  }
  return it->second;
}

inline FrameHeader HeaderOf(const std::string& profile, int32_t first_token, int32_t layer, const Digest& key) {
  const Recipe& recipe = RecipeOf(profile);
  FrameHeader header;
  header.formats[0] = recipe.high;
  header.provenance = recipe.exact() ? Provenance::kExact : Provenance::kQuantised;
  header.first_layer = layer;
  header.heads = Model().geometry.kv_heads;
  header.head_dim = Model().geometry.head_dim;
  header.first_position = first_token;
  header.span = kChunkTokens;
  header.model_fingerprint = Model().fingerprint.Prefix64();
  header.profile = recipe.digest;
  header.context = key;
  return header;
}

// A sealed frame whose payload is a function of its header's key, profile and layer, so that wrong bytes can be told.
inline std::string FrameOf(const FrameHeader& header) {
  std::vector<int32_t> counts;
  for (int32_t head = 0; head < header.layers * header.heads; ++head) {
    counts.push_back(header.span);
    counts.insert(counts.end(), kFrameTiers - 1, 0);
  }
  const FrameLayout layout = LayOutFrame(header, counts);
  std::string batch(static_cast<size_t>(layout.bytes), '\0');
  const uint64_t seed = header.context.Prefix64() ^ header.profile.Prefix64();
  const bool floats = FormatOf(header.formats[0]).k == Element::kBf16;  // that a re-encoder can read
  for (const FrameRun& run : layout.runs) {
    const int64_t key_bytes = run.tokens * VectorBytes(FormatOf(header.formats[0]).k, header.head_dim);
    for (int64_t i = 0; i < key_bytes; ++i) {
      batch[static_cast<size_t>(run.keys + i)] =
          static_cast<char>(MixBits(seed, static_cast<uint64_t>(header.first_layer * 100000 + i)));
    }
    for (int64_t i = 0; floats && i < key_bytes; i += 2) {
      const uint64_t bits = MixBits(seed, static_cast<uint64_t>(header.first_layer * 100000 + i));
      const Bf16 value = ToBf16(static_cast<float>(bits % 2001) / 500 - 2);
      std::memcpy(&batch[static_cast<size_t>(run.keys + i)], &value, 2);
    }
  }
  SealFrame(header, layout, reinterpret_cast<uint8_t*>(batch.data()));
  return batch;
}

inline std::string FrameOf(const Prompt& prompt, const std::string& profile, size_t chunk, int32_t layer) {
  return FrameOf(HeaderOf(profile, static_cast<int32_t>(chunk) * kChunkTokens, layer, prompt.keys[chunk]));
}

inline PublishStart StartOf(const Prompt& prompt, const std::string& profile, size_t first, size_t count) {
  PublishStart start;
  start.model = Model();
  start.profile = profile;
  for (size_t chunk = first; chunk < first + count; ++chunk) {
    OfferedChunk offered;
    offered.key = prompt.keys[chunk];
    if (chunk > 0) offered.parent = prompt.keys[chunk - 1];
    offered.first_token = static_cast<int32_t>(chunk) * kChunkTokens;
    offered.tokens = kChunkTokens;
    start.chunks.push_back(offered);
  }
  return start;
}

inline absl::StatusOr<PublishTally> PublishAll(Pool& pool, absl::Time now, PublishStart start, const Prompt& prompt) {
  const size_t first = static_cast<size_t>(start.chunks.front().first_token) / kChunkTokens;
  const size_t count = start.chunks.size();
  const std::string profile = start.profile;
  auto rules = PublishRules::Create(std::move(start), pool.catalogue());
  if (!rules.ok()) return rules.status();
  const absl::StatusOr<uint64_t> publish = pool.BeginPublish(now, *rules);
  if (!publish.ok()) return publish.status();
  for (int32_t layer = 0; layer < Model().geometry.layers; ++layer) {
    std::string message;
    for (size_t chunk = first; chunk < first + count; ++chunk) message += FrameOf(prompt, profile, chunk, layer);
    if (const absl::Status added = pool.AddFrames(now, *publish, (*rules)->Check(message)); !added.ok()) return added;
  }
  return pool.EndPublish(now, *publish);
}

inline absl::StatusOr<PublishTally> PublishAll(Pool& pool, absl::Time now, const Prompt& prompt,
                                               const std::string& profile) {
  return PublishAll(pool, now, StartOf(prompt, profile, 0, prompt.keys.size()), prompt);
}

inline PlanDemand DemandOf(const Prompt& prompt, double floor = 0, const std::string& profile = "") {
  PlanDemand demand;
  demand.model = Model();
  demand.chunk_keys = prompt.keys;
  demand.chunk_tokens = kChunkTokens;
  demand.prompt_tokens = static_cast<int64_t>(prompt.tokens.size());
  demand.max_tokens = 10;
  demand.floor = floor;
  demand.profile = profile;
  PairCandidate pair;
  pair.prefill = "p";
  pair.decode = "d";
  pair.prefill_load.prefill_tokens_per_s = 100;  // slow: reuse always pays
  demand.candidates = {pair};
  return demand;
}

inline std::vector<WantedChunk> WantedOf(absl::Span<const Variant> prefix) {
  std::vector<WantedChunk> wanted;
  for (const Variant& variant : prefix) {
    wanted.push_back(WantedChunk{variant.key, VariantDigest(variant.profile, variant.context)});
  }
  return wanted;
}

// What a fetch of `prefix` must bring, in order.
inline std::vector<std::string> ExpectedFrames(absl::Span<const Variant> prefix) {
  std::vector<std::string> frames;
  for (int32_t layer = 0; layer < Model().geometry.layers; ++layer) {
    for (const Variant& variant : prefix) {
      frames.push_back(FrameOf(HeaderOf(variant.profile_name, variant.first_token, layer, variant.key)));
    }
  }
  return frames;
}

}  // namespace decant::pool_rig

#endif  // DECANT_TESTS_SERVICES_POOL_POOL_RIG_H_
