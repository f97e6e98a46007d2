#include "common/model/pattern_syntax.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/model/regex.h"
#include "common/model/split.h"

namespace decant {
namespace {

using testing::ElementsAre;

std::vector<std::string> Matches(const std::string& pattern, const std::string& text) {
  const auto regex = Regex::Compile(pattern);
  EXPECT_TRUE(regex.ok()) << regex.status();
  std::vector<std::string> matches;
  EXPECT_TRUE(
      regex->ForEachMatch(text, [&](size_t begin, size_t end) { matches.push_back(text.substr(begin, end - begin)); })
          .ok());
  return matches;
}

TEST(PatternSyntaxTest, SpacesAreUnicodeWhiteSpace) {
  EXPECT_THAT(Matches(R"(\s+)", "a \t\u00a0\u0085\u3000b\u180ec\u200bd"), ElementsAre(" \t\u00a0\u0085\u3000"));
  EXPECT_THAT(Matches(R"([^\s]+)", "a\u2028b\u180e"), ElementsAre("a", "b\u180e"));
  EXPECT_THAT(Matches(R"(\s+(?!\S))", "a   b  "), ElementsAre("  ", "  "));
}

TEST(PatternSyntaxTest, AnIntervalWithPlusRepeats) {
  EXPECT_THAT(Matches(R"(\p{N}{1,3}+)", "12345 6"), ElementsAre("12345", "6"));
  EXPECT_THAT(Matches(R"((?:ab){2}+x)", "ababababx"), ElementsAre("ababababx"));
  EXPECT_THAT(Matches(R"([a-c]{2}+)", "abcab"), ElementsAre("abca"));
  EXPECT_THAT(Matches("\u4f60{2}+", "\u4f60\u4f60\u4f60\u4f60\u4f60"), ElementsAre("\u4f60\u4f60\u4f60\u4f60"));
  EXPECT_THAT(Matches(R"(x{2}?y)", "xxy y xy"), ElementsAre("xxy", "y", "y"));
}

TEST(PatternSyntaxTest, OtherQuantifiersKeepTheirMeaning) {
  EXPECT_THAT(Matches(R"(\p{N}{1,3})", "12345"), ElementsAre("123", "45"));
  EXPECT_THAT(Matches(R"(\p{L}++x?+)", "abcx"), ElementsAre("abcx"));
  EXPECT_THAT(Matches(R"(a{,2}b)", "aaab"), ElementsAre("aab"));
  EXPECT_THAT(Matches(R"(a{2,3}?)", "aaaa"), ElementsAre("aa", "aa"));
  EXPECT_THAT(Matches(R"(\{x\}[{}]a)", "{x}}a"), ElementsAre("{x}}a"));
  EXPECT_THAT(Matches(R"([]a[:digit:]]+)", "]a1b"), ElementsAre("]a1"));
}

TEST(PatternSyntaxTest, WhatCannotBeSaidIsRefused) {
  EXPECT_EQ(PatternForPcre2(R"(\h)").status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(PatternForPcre2("[a&&b]").status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(PatternForPcre2("[a[b]]").status().code(), absl::StatusCode::kUnimplemented);
  for (const char* wrong : {"(", "[a", "a\\", "x{3,1}", "*", ")"}) {
    EXPECT_EQ(Regex::Compile(wrong).status().code(), absl::StatusCode::kInvalidArgument) << wrong;
  }
}

TEST(RegexTest, EmptyMatchesMoveOn) {
  EXPECT_THAT(Matches("x*", "a\u4f60xx"), ElementsAre("", "", "xx", ""));
  EXPECT_THAT(Matches("x*", ""), ElementsAre());
}

TEST(RegexTest, APatternThatExplodesIsAnErrorAndNoCrash) {
  const auto regex = Regex::Compile("(a+)+$");
  ASSERT_TRUE(regex.ok());
  const absl::Status status = regex->ForEachMatch(std::string(5000, 'a') + "b", [](size_t, size_t) {});
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
}

TEST(SplitTest, EachBehaviourJoinsItsWay) {
  const std::string text = "--a-b--";
  const auto spans = SpansOfString(text, "-");
  const auto split = [&](SplitBehavior behavior) {
    std::vector<std::string> parts;
    for (const Span& span : Behave(spans, behavior)) parts.push_back(text.substr(span.begin, span.end - span.begin));
    return parts;
  };
  EXPECT_THAT(split(SplitBehavior::kRemoved), ElementsAre("a", "b"));
  EXPECT_THAT(split(SplitBehavior::kIsolated), ElementsAre("-", "-", "a", "-", "b", "-", "-"));
  EXPECT_THAT(split(SplitBehavior::kContiguous), ElementsAre("--", "a", "-", "b", "--"));
  EXPECT_THAT(split(SplitBehavior::kMergedWithPrevious), ElementsAre("-", "-", "a-", "b-", "-"));
  EXPECT_THAT(split(SplitBehavior::kMergedWithNext), ElementsAre("-", "-a", "-b", "-", "-"));
}

}  // namespace
}  // namespace decant
