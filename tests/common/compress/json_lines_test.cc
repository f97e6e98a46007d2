#include "common/compress/json_lines.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace decant {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

TEST(JsonLinesTest, FindsMembersOfTheOutermostObject) {
  const auto lines = JsonMemberLines("{\n\"a\": {\"b\": 1},\n\n\"c\": [{\"d\": 2}]}");
  ASSERT_TRUE(lines.ok()) << lines.status();
  EXPECT_THAT(*lines, ElementsAre(Pair("a", 2), Pair("c", 4)));
}

TEST(JsonLinesTest, FindsNestedMembersDownToADepth) {
  const std::string text =
      "{\"a\": {\n\"b\": {\n\"c\": {\n\"d\": 1}}},\n\"e\": [{\"f\": {\"g\": 1}}],\n\"h\": {\"i\": \"j\"}}";
  EXPECT_THAT(*JsonMemberLines(text, 2),
              ElementsAre(Pair("a", 1), Pair("a/b", 2), Pair("e", 5), Pair("h", 6), Pair("h/i", 6)));
  EXPECT_THAT(*JsonMemberLines(text, 9), testing::Contains(Pair("a/b/c/d", 4)));
}

TEST(JsonLinesTest, ANameMayStandOnceInAnObject) {
  EXPECT_TRUE(JsonMemberLines("{\"a\": {\"x\": 1}, \"b\": {\"x\": 1}}", 2).ok());
  const absl::Status twice = JsonMemberLines("{\"a\": {\n\"x\": 1,\n\"x\": 2}}", 2).status();
  EXPECT_EQ(twice.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(twice.message()), AllOf(HasSubstr("line 3"), HasSubstr("'x'"), HasSubstr("line 2")));
  EXPECT_TRUE(JsonMemberLines("{\"a\": {\"x\": 1, \"x\": 2}}", 1).ok());
}

}  // namespace
}  // namespace decant
