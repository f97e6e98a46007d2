// The index at a million chunks: bytes per chunk, and how long a prompt of 100k tokens takes to look up, with its keys
// given and with hashing. Every lookup is of another prompt, so that its records come from memory and not from a cache.
// Beside the time stands the processor's, which a busy machine does not stretch.
#include <malloc.h>

#include <string>
#include <vector>

#include "common/base/check.h"
#include "common/base/random.h"
#include "common/index/chunk_index.h"
#include "common/index/keys.h"
#include "load_tests/support/report.h"

namespace decant {
namespace {

constexpr int32_t kPromptChunks = 1563;  // of 64 tokens: 100,032 tokens
constexpr size_t kPrompts = 640;         // 1,000,320 chunks

std::vector<int32_t> TokensOf(uint64_t prompt) {
  std::vector<int32_t> tokens(kPromptChunks * kDefaultChunkTokens + 1);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int32_t>(MixBits(prompt, i) % 49152);
  return tokens;
}

size_t HeapBytes() {
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

int Run(const LoadTestFlags& flags) {
  KeySpace space;
  space.tenant_namespace = NamespaceOf("");
  space.model_fingerprint = Sha256("model");
  space.geometry = Geometry{30, 9, 3, 64};
  space.run_type = RunType::kBf16;
  const size_t prompts = flags.quick ? 64 : kPrompts;
  std::vector<std::vector<Digest>> keys;
  for (size_t prompt = 0; prompt < prompts; ++prompt) {
    keys.push_back(ChunkKeys(space, TokensOf(prompt), kDefaultChunkTokens));
  }
  const size_t before = HeapBytes();
  ChunkIndex index(1);
  uint64_t entry = 0;
  for (const std::vector<Digest>& chain : keys) {
    for (size_t i = 0; i < chain.size(); ++i) {
      Variant variant;
      variant.entry = ++entry;
      variant.key = chain[i];
      if (i > 0) variant.parent = chain[i - 1];
      variant.model = space.model_fingerprint;
      variant.profile = Sha256("full");
      variant.profile_name = "full";
      variant.first_token = static_cast<int32_t>(i) * kDefaultChunkTokens;
      variant.tokens = kDefaultChunkTokens;
      variant.provenance = Provenance::kExact;
      variant.quality = 1;
      variant.bytes = 1 << 20;
      DECANT_CHECK(index.Insert(variant));
    }
  }
  const auto chunks = static_cast<double>(index.variants());
  Report report(flags);
  report.Add("index_bytes_per_chunk", static_cast<double>(HeapBytes() - before) / chunks - sizeof(Digest),
             "bytes beside the key, limit 200");

  PrefixWant want;
  want.model = space.model_fingerprint;
  want.prompt_tokens = int64_t{kPromptChunks} * kDefaultChunkTokens + 1;
  want.chunk_tokens = kDefaultChunkTokens;
  size_t next = 0;
  std::vector<double> lookup_cpu;
  std::vector<double> hashed_cpu;
  const auto lookup_us = [&] {
    constexpr int kLookups = 100;
    const double start = WallSeconds();
    const double cpu = CpuSeconds();
    for (int i = 0; i < kLookups; ++i) {
      next = (next + 37) % keys.size();
      DECANT_CHECK(index.MatchPrefix(keys[next], want).chunks.size() == kPromptChunks);
    }
    lookup_cpu.push_back(1e6 * (CpuSeconds() - cpu) / kLookups);
    return 1e6 * (WallSeconds() - start) / kLookups;
  };
  const std::vector<int32_t> tokens = TokensOf(3);
  const auto hashed_us = [&] {
    constexpr int kLookups = 20;
    const double start = WallSeconds();
    const double cpu = CpuSeconds();
    for (int i = 0; i < kLookups; ++i) {
      const std::vector<Digest> chain = ChunkKeys(space, tokens, kDefaultChunkTokens);
      DECANT_CHECK(index.MatchPrefix(chain, want).chunks.size() == kPromptChunks);
    }
    hashed_cpu.push_back(1e6 * (CpuSeconds() - cpu) / kLookups);
    return 1e6 * (WallSeconds() - start) / kLookups;
  };
  const auto rounds = InterleavedRounds(flags.quick ? 3 : 9, {lookup_us, hashed_us});
  report.Add("index_lookup_100k_tokens", Median(rounds[0]), "us, limit 100");
  report.Add("index_lookup_100k_tokens_hashed", Median(rounds[1]), "us, limit 1000", Median(rounds[0]),
             MedianRatio(rounds[1], rounds[0]));
  report.Add("index_lookup_100k_tokens_cpu", Median(lookup_cpu), "us of the processor, limit 100");
  report.Add("index_lookup_100k_tokens_hashed_cpu", Median(hashed_cpu), "us of the processor, limit 1000");
  return report.Finish();
}

}  // namespace
}  // namespace decant

int main(int argc, char** argv) { return decant::Run(decant::ParseLoadTestFlags(argc, argv)); }
