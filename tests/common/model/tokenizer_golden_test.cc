// Token ids and texts of the reference implementation, for one tokenizer of each kind.
#include "tests/common/model/tokenizer_golden.h"

#include <gtest/gtest.h>

namespace decant {
namespace {

class TokenizerGoldenTest : public testing::TestWithParam<const char*> {};

TEST_P(TokenizerGoldenTest, GivesTheReferencesIdsAndText) {
  ExpectGolden(GoldenModels() + "/tokenizers/" + GetParam(), GetParam());
}

INSTANTIATE_TEST_SUITE_P(Kinds, TokenizerGoldenTest,
                         testing::Values("gpt2_digits", "gpt2_prefix_space", "llama3", "qwen2", "possessive", "llama2",
                                         "metaspace_first", "metaspace_unknown", "whitespace_words"),
                         [](const auto& kind) { return std::string(kind.param); });

TEST(TokenizerGoldenTest, TheBundledModelGivesTheReferencesIdsAndText) { ExpectGolden(TinyModel(), "decant-tiny"); }

}  // namespace
}  // namespace decant
