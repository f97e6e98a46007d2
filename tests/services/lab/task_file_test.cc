#include "services/lab/task_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace decant {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr char kGood[] = R"({"context": "A is 1.", "questions": [{"ask": " A?", "answer": " 1"}]})";

TEST(TaskFileTest, EveryLineIsAText) {
  const LabTask task = ParseTaskFile("mine", std::string(kGood) + "\n\n" + kGood + "\r\n").value();
  EXPECT_EQ(task.name, "mine");
  ASSERT_EQ(task.texts.size(), 2u);
  EXPECT_EQ(task.texts[1].context, "A is 1.");
  EXPECT_EQ(task.texts[1].questions[0].ask, " A?");
  EXPECT_EQ(task.texts[1].questions[0].answer, " 1");
}

TEST(TaskFileTest, ABrokenLineIsNamedWithWhatIsAllowed) {
  const auto error = [](const std::string& line) {
    return ParseTaskFile("mine", std::string(kGood) + "\n" + line).status().ToString();
  };
  const auto allowed = HasSubstr("a line is {\"context\": TEXT");
  EXPECT_THAT(error("{"), AllOf(HasSubstr("line 2: this is no JSON object"), allowed));
  EXPECT_THAT(error("[]"), AllOf(HasSubstr("line 2: this is no JSON object"), allowed));
  EXPECT_THAT(error(R"({"questions": []})"), HasSubstr("line 2: field \"context\" is missing"));
  EXPECT_THAT(error(R"({"context": "", "questions": []})"), HasSubstr("field \"context\" must be a text"));
  EXPECT_THAT(error(R"({"context": "a"})"), HasSubstr("\"questions\" must be a list"));
  EXPECT_THAT(error(R"({"context": "a", "questions": []})"), HasSubstr("\"questions\" must be a list"));
  EXPECT_THAT(error(R"({"context": "a", "questions": [1]})"), HasSubstr("every question must be an object"));
  EXPECT_THAT(error(R"({"context": "a", "questions": [{"ask": "b"}]})"), HasSubstr("field \"answer\" is missing"));
  EXPECT_THAT(error(R"({"context": "a", "questions": [{"ask": "b", "answer": 5}]})"), HasSubstr("\"answer\" must be"));
  EXPECT_THAT(error(R"({"context": "a", "question": []})"), HasSubstr("unknown field \"question\""));
}

TEST(TaskFileTest, AnEmptyFileAndAMissingOneAreErrors) {
  EXPECT_THAT(ParseTaskFile("mine", "\n \n").status().ToString(), HasSubstr("there is no line"));
  EXPECT_THAT(ReadTaskFile("/nowhere/x.jsonl").status().ToString(), HasSubstr("cannot read the task file"));
}

}  // namespace
}  // namespace decant
