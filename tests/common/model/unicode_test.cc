#include "common/model/unicode.h"

#include <gtest/gtest.h>

#include "common/model/byte_level.h"

namespace decant {
namespace {

TEST(UnicodeTest, EveryCharacterGoesThroughUtf8AndBack) {
  for (char32_t c = 0; c <= 0x10ffff; ++c) {
    std::string text;
    AppendChar(c, text);
    const bool surrogate = c >= 0xd800 && c <= 0xdfff;
    ASSERT_EQ(ValidUtf8Prefix(text), surrogate ? 0u : text.size()) << static_cast<uint32_t>(c);
    if (surrogate) continue;
    ASSERT_EQ(CharBytes(text, 0), text.size()) << static_cast<uint32_t>(c);
    ASSERT_EQ(CharAt(text, 0), c);
  }
}

TEST(UnicodeTest, InvalidSequencesAreReplacedOnceEach) {
  EXPECT_EQ(ReplaceInvalidUtf8("ok \u4f60"), "ok \u4f60");
  EXPECT_EQ(ReplaceInvalidUtf8("\xe4\xbd"), "\uFFFD");
  EXPECT_EQ(ReplaceInvalidUtf8("\xe4\xbd"
                               "a"),
            "\uFFFD"
            "a");
  EXPECT_EQ(ReplaceInvalidUtf8("\xf0\x9f\x98"), "\uFFFD");
  EXPECT_EQ(ReplaceInvalidUtf8("\x80\x80"), "\uFFFD\uFFFD");
  EXPECT_EQ(ReplaceInvalidUtf8("\xc0\xaf"), "\uFFFD\uFFFD");
  EXPECT_EQ(ReplaceInvalidUtf8("\xed\xa0\x80"), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(ReplaceInvalidUtf8("\xe4\xe4\xbd\xa0"), "\uFFFD\u4f60");
}

TEST(UnicodeTest, NormalFormsComposeAndDecompose) {
  EXPECT_EQ(Normalized("e\u0301 A\u030a", NormalForm::kNfc), "\u00e9 \u00c5");
  EXPECT_EQ(Normalized("\u00e9", NormalForm::kNfd), "e\u0301");
  EXPECT_EQ(Normalized("\uff11\ufb01", NormalForm::kNfkc), "1fi");
  EXPECT_EQ(Normalized("\uff11\u00e9", NormalForm::kNfkd), "1e\u0301");
}

TEST(ByteLevelTest, EveryByteGoesThroughItsCharacterAndBack) {
  std::string bytes;
  for (int byte = 0; byte < 256; ++byte) bytes.push_back(static_cast<char>(byte));
  const std::string chars = BytesToChars(bytes);
  EXPECT_EQ(ValidUtf8Prefix(chars), chars.size());
  std::string back;
  AppendCharsAsBytes(chars, back);
  EXPECT_EQ(back, bytes);
  EXPECT_EQ(BytesToChars(" \n"), "\u0120\u010a");
}

TEST(ByteLevelTest, ATokenWithAnotherCharacterStandsForItself) {
  std::string bytes = "x";
  AppendCharsAsBytes("\u0120a b", bytes);
  EXPECT_EQ(bytes, "x\u0120a b");
}

}  // namespace
}  // namespace decant
