#include "common/index/keys.h"
#include "tests/support/paths/paths.h"

#include <chrono>
#include <fstream>
#include <map>
#include <set>
#include <string>

#include "gtest/gtest.h"

namespace decant {
namespace {

KeySpace SmolSpace() {
  KeySpace space;
  space.tenant_namespace = NamespaceOf("");
  space.model_fingerprint = Sha256("a model");
  space.geometry = Geometry{30, 9, 3, 64};
  space.run_type = RunType::kBf16;
  return space;
}

std::vector<int32_t> GoldenTokens() {
  std::vector<int32_t> tokens;
  for (uint64_t i = 0; i < 200; ++i) tokens.push_back(static_cast<int32_t>(i * 2654435761u % 49152));
  return tokens;
}

std::map<std::string, std::vector<std::string>> ReadGoldens() {
  std::map<std::string, std::vector<std::string>> goldens;
  std::ifstream file(SourceDir() + "/tests/common/index/key_goldens.txt");
  std::string name, index, hex;
  while (file >> name >> index >> hex) goldens[name].push_back(hex);
  return goldens;
}

std::vector<std::string> Hex(const std::vector<Digest>& keys) {
  std::vector<std::string> hex;
  for (const Digest& key : keys) hex.push_back(key.Hex());
  return hex;
}

TEST(KeysTest, EqualsTheBytesThatPythonHashes) {
  const auto goldens = ReadGoldens();
  ASSERT_EQ(goldens.size(), 8u);
  const std::vector<int32_t> tokens = GoldenTokens();
  KeySpace space = SmolSpace();
  EXPECT_EQ(Hex(ChunkKeys(space, tokens, 64)), goldens.at("default"));
  EXPECT_EQ(Hex(ChunkKeys(space, tokens, 48)), goldens.at("small_chunks"));
  space.tenant_namespace = NamespaceOf("blue");
  EXPECT_EQ(Hex(ChunkKeys(space, tokens, 64)), goldens.at("tenant"));
  space = SmolSpace();
  space.geometry = Geometry{4, 8, 2, 32};
  EXPECT_EQ(Hex(ChunkKeys(space, tokens, 64)), goldens.at("geometry"));
  space = SmolSpace();
  space.shard_rank = 1;
  space.shard_count = 2;
  EXPECT_EQ(Hex(ChunkKeys(space, tokens, 64)), goldens.at("shard"));
  space = SmolSpace();
  space.run_type = RunType::kF32;
  EXPECT_EQ(Hex(ChunkKeys(space, tokens, 64)), goldens.at("run_type"));
}

TEST(KeysTest, SegmentKeysEqualTheBytesThatPythonHashes) {
  const auto goldens = ReadGoldens();
  const std::vector<int32_t> tokens = GoldenTokens();
  KeySpace space = SmolSpace();
  EXPECT_EQ(SegmentKey(space, absl::MakeConstSpan(tokens).first(64)).Hex(), goldens.at("segment")[0]);
  EXPECT_NE(SegmentKey(space, absl::MakeConstSpan(tokens).first(64)),
            ChunkKey(space, Digest{}, absl::MakeConstSpan(tokens).first(64)));
  space.tenant_namespace = NamespaceOf("blue");
  space.geometry = Geometry{4, 8, 2, 32};
  space.shard_rank = 1;
  space.shard_count = 2;
  space.run_type = RunType::kF32;
  EXPECT_EQ(SegmentKey(space, absl::MakeConstSpan(tokens).subspan(64, 36)).Hex(), goldens.at("segment")[1]);
}

TEST(KeysTest, ASecretMakesNamespacesThatNobodyElseCanCompute) {
  std::string secret(32, '\0');
  for (size_t i = 0; i < secret.size(); ++i) secret[i] = static_cast<char>(i);
  EXPECT_EQ(SaltedNamespaceOf(secret, "blue").Hex(), ReadGoldens().at("salted")[0]);
  EXPECT_NE(SaltedNamespaceOf(secret, "blue"), SaltedNamespaceOf(secret, "green"));
  EXPECT_NE(SaltedNamespaceOf(secret, "blue"), NamespaceOf("blue"));
  secret[31] = 0;
  EXPECT_NE(SaltedNamespaceOf(secret, "blue").Hex(), ReadGoldens().at("salted")[0]);
}

TEST(KeysTest, ChainsChunkKeys) {
  const std::vector<int32_t> tokens = GoldenTokens();
  const KeySpace space = SmolSpace();
  const std::vector<Digest> keys = ChunkKeys(space, tokens, 64);
  ASSERT_EQ(keys.size(), 3u);
  Digest parent;
  for (size_t i = 0; i < keys.size(); ++i) {
    parent = ChunkKey(space, parent, absl::MakeConstSpan(tokens).subspan(i * 64, 64));
    EXPECT_EQ(keys[i], parent);
  }
}

TEST(KeysTest, CountsWholeChunksOnly) {
  const std::vector<int32_t> tokens = GoldenTokens();
  const KeySpace space = SmolSpace();
  for (const size_t count : {0, 1, 63, 64, 65, 127, 128, 200}) {
    EXPECT_EQ(ChunkKeys(space, absl::MakeConstSpan(tokens).first(count), 64).size(), count / 64) << count;
  }
}

TEST(KeysTest, DependsOnEveryTokenBefore) {
  std::vector<int32_t> tokens = GoldenTokens();
  const std::vector<Digest> before = ChunkKeys(SmolSpace(), tokens, 64);
  tokens[70] ^= 1;
  const std::vector<Digest> after = ChunkKeys(SmolSpace(), tokens, 64);
  EXPECT_EQ(before[0], after[0]);
  EXPECT_NE(before[1], after[1]);
  EXPECT_NE(before[2], after[2]);
}

TEST(KeysTest, LeavesOneTokenToCompute) {
  EXPECT_EQ(ReusableChunks(0, 64), 0);
  EXPECT_EQ(ReusableChunks(1, 64), 0);
  EXPECT_EQ(ReusableChunks(64, 64), 0);
  EXPECT_EQ(ReusableChunks(65, 64), 1);
  EXPECT_EQ(ReusableChunks(128, 64), 1);
  EXPECT_EQ(ReusableChunks(129, 64), 2);
}

TEST(KeysTest, HashesEightThousandTokensInMilliseconds) {
  // The bound is loose, for a slow and busy machine; what is expected is below a tenth of a millisecond.
  std::vector<int32_t> tokens(8192, 7);
  const KeySpace space = SmolSpace();
  auto best = std::chrono::nanoseconds::max();
  for (int round = 0; round < 20; ++round) {
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(ChunkKeys(space, tokens, 64).size(), 128u);
    best = std::min(best, std::chrono::nanoseconds(std::chrono::steady_clock::now() - start));
  }
  RecordProperty("best_us", static_cast<int>(best.count() / 1000));
}

}  // namespace
}  // namespace decant
