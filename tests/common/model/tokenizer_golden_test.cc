// Token ids and texts of the reference implementation, for one tokenizer of each kind.
#include "tests/common/model/tokenizer_golden.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace decant {
namespace {

class TokenizerGoldenTest : public testing::TestWithParam<const char*> {};

TEST_P(TokenizerGoldenTest, GivesTheReferencesIdsAndText) {
  EXPECT_THAT(GoldenDifferences(GoldenModels() + "/tokenizers/" + GetParam(), GetParam()), testing::IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(Kinds, TokenizerGoldenTest,
                         testing::Values("gpt2_digits", "gpt2_prefix_space", "llama3", "qwen2", "possessive", "llama2",
                                         "metaspace_first", "metaspace_unknown", "whitespace_words"),
                         [](const auto& kind) { return std::string(kind.param); });

TEST(TokenizerGoldenTest, TheBundledModelGivesTheReferencesIdsAndText) {
  EXPECT_THAT(GoldenDifferences(TinyModel(), "decant-tiny"), testing::IsEmpty());
}

}  // namespace
}  // namespace decant
