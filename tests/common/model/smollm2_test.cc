// What needs the SmolLM2 folder.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/model/model_folder.h"
#include "common/policy/measurements.h"
#include "tests/common/model/smollm2_folder.h"
#include "tests/common/model/tokenizer_golden.h"

namespace decant {
namespace {

TEST(Smollm2Test, TokenizerGivesTheReferencesIdsAndText) {
  DECANT_REQUIRE_SMOLLM2();
  EXPECT_THAT(GoldenDifferences(Smollm2Folder(), "smollm2"), testing::IsEmpty());
}

TEST(Smollm2Test, PromptsOfTheContinuationsGiveTheReferencesIds) {
  DECANT_REQUIRE_SMOLLM2();
  const auto tokenizer = Tokenizer::Open(Smollm2Folder());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  for (const nlohmann::json& record : ReadJson(GoldenModels() + "/smollm2_continuations.json")) {
    EXPECT_EQ(*(*tokenizer)->Encode(record["prompt"].get<std::string>()),
              record["prompt_ids"].get<std::vector<int32_t>>());
    EXPECT_EQ(*(*tokenizer)->Decode(record["ids"].get<std::vector<int32_t>>(), true),
              record["text"].get<std::string>());
  }
}

TEST(Smollm2Test, FolderOpensWithEveryTensor) {
  DECANT_REQUIRE_SMOLLM2();
  const auto folder = OpenModelFolder(Smollm2Folder());
  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_EQ(folder->config.geometry(), (Geometry{30, 9, 3, 64}));
  EXPECT_EQ(folder->config.max_positions, 8192);
  EXPECT_EQ(folder->tensors->Names().size(), 272u);
  EXPECT_EQ(folder->tokenizer->vocabulary(), folder->config.vocabulary);
  EXPECT_EQ(folder->config.end_tokens, std::vector<int32_t>{2});
}

TEST(Smollm2Test, IsTheModelOfTheBuiltInMeasurements) {
  DECANT_REQUIRE_SMOLLM2();
  const auto folder = OpenModelFolder(Smollm2Folder());
  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_THAT(MissingMeasurements(*LoadMeasurements(""), folder->fingerprint, "smollm2", folder->path, ""),
              testing::IsEmpty());
}

}  // namespace
}  // namespace decant
