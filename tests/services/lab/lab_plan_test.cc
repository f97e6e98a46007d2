#include "services/lab/lab_plan.h"
#include "tests/support/paths/paths.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace decant {
namespace {

using testing::HasSubstr;

LabText TwoQuestions(uint64_t seed, int32_t length) {
  return {"The code of Alice is " + std::to_string(seed % 10) + std::to_string(length) + ".",
          {{" Question: what is the code of Alice? Answer:", " 12345."},
           {" Question: where is Bruno? Answer:", " attic."}}};
}

std::unique_ptr<Tokenizer> Tiny() { return Tokenizer::Open(SourceDir() + "/deploy/models/decant-tiny").value(); }

LabTask Task(const std::string& name) {
  LabTask task;
  task.name = name;
  task.make = TwoQuestions;
  return task;
}

LabGrid Grid(int32_t samples) {
  LabGrid grid;
  grid.lengths = {512, 1024};
  grid.modes = {LabMode::kQueryAgnostic, LabMode::kQueryAware};
  grid.samples = samples;
  return grid;
}

TEST(LabPlanTest, ACellHasExactlyItsSamples) {
  const std::vector<LabTask> tasks = {Task("a"), Task("b")};
  const std::vector<LabUnit> units = PlanUnits(tasks, Grid(5));
  ASSERT_EQ(units.size(), 2u * 2 * 2 * 3);
  EXPECT_EQ(units[0].questions + units[1].questions + units[2].questions, 5u);
  std::set<std::string> keys;
  for (const LabUnit& unit : units) keys.insert(unit.Key(tasks));
  EXPECT_EQ(keys.size(), units.size());
  EXPECT_TRUE(keys.count("b/1024/query-aware/0/2"));
}

TEST(LabPlanTest, BothModesAskTheSameQuestions) {
  LabUnit agnostic, aware;
  aware.mode = LabMode::kQueryAware;
  EXPECT_EQ(UnitText(Task("a"), agnostic).context, UnitText(Task("a"), aware).context);
  aware.context = 1;
  LabUnit other;
  other.seed = 1;
  EXPECT_NE(UnitText(TinyTasks()[0], agnostic).context, UnitText(TinyTasks()[0], aware).context);
  EXPECT_NE(UnitText(TinyTasks()[0], agnostic).context, UnitText(TinyTasks()[0], other).context);
}

TEST(LabPlanTest, TextsOfAFileAreMeasuredOnceWhateverTheSeeds) {
  LabTask task;
  task.name = "mine";
  task.texts = {TwoQuestions(1, 2), TwoQuestions(3, 4)};
  LabGrid grid = Grid(100);
  grid.seeds = 3;
  const std::vector<LabUnit> units = PlanUnits({task}, grid);
  ASSERT_EQ(units.size(), 4u);  // two texts in two modes
  EXPECT_EQ(units[1].questions, 2u);
}

// A user's 300 questions were once cut to the 200 of a generated task.
TEST(LabPlanTest, AllQuestionsOfAFileAreAskedUnlessToldOtherwise) {
  LabTask task;
  task.name = "mine";
  for (uint64_t i = 0; i < 150; ++i) task.texts.push_back(TwoQuestions(i, 1));
  const auto questions = [&](const LabGrid& grid) {
    size_t count = 0;
    for (const LabUnit& unit : PlanUnits({task}, grid)) count += unit.questions;
    return count;
  };
  LabGrid grid = Grid(5);
  grid.samples_at = {7, 9};
  EXPECT_EQ(questions(grid), 2u * 300);
  grid.file_samples = 31;
  EXPECT_EQ(questions(grid), 2u * 31);
}

TEST(LabPlanTest, LongOutputIsMeasuredInOneMode) {
  const std::vector<LabUnit> units = PlanUnits({TinyLongTask()}, Grid(5));
  ASSERT_EQ(units.size(), 2u);
  EXPECT_EQ(units[0].mode, LabMode::kQueryAgnostic);
}

// Prompt and fed tokens are the whole text but its last token, in both modes; every token of the answer comes from
// decode.
TEST(LabPlanTest, AgnosticJobsShareAPromptAndAwareOnesHaveTheQuestionInIt) {
  const auto tokenizer = Tiny();
  LabUnit unit;
  unit.length = 512;
  unit.questions = 2;
  const LabTask task = Task("a");
  const std::vector<LabJob> agnostic = UnitJobs(*tokenizer, 4096, task, unit).value();
  ASSERT_EQ(agnostic.size(), 1u);
  ASSERT_EQ(agnostic[0].texts.size(), 2u);
  const LabText text = UnitText(task, unit);
  EXPECT_EQ(agnostic[0].prompt, tokenizer->Encode(text.context).value());
  unit.mode = LabMode::kQueryAware;
  const std::vector<LabJob> aware = UnitJobs(*tokenizer, 4096, task, unit).value();
  ASSERT_EQ(aware.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    const FedText& fed = agnostic[0].texts[i];
    EXPECT_EQ(aware[i].texts[0].answer, fed.answer);
    EXPECT_EQ(aware[i].texts[0].feed.size(), fed.answer.size());
    EXPECT_GT(fed.feed.size(), fed.answer.size());
    std::vector<int32_t> a = agnostic[0].prompt, b = aware[i].prompt;
    a.insert(a.end(), fed.feed.begin(), fed.feed.end());
    b.insert(b.end(), aware[i].texts[0].feed.begin(), aware[i].texts[0].feed.end());
    EXPECT_EQ(a, b);
    a.push_back(fed.answer.back());
    EXPECT_EQ(a, tokenizer->Encode(text.context + text.questions[i].ask + text.questions[i].answer).value());
  }
}

TEST(LabPlanTest, LongOutputFeedsTheLastTokensOfItsText) {
  const auto tokenizer = Tiny();
  LabUnit unit;
  unit.length = 256;
  const std::vector<LabJob> jobs = UnitJobs(*tokenizer, 4096, TinyLongTask(), unit).value();
  ASSERT_EQ(jobs.size(), 1u);
  EXPECT_EQ(jobs[0].span_tokens, kLongSpan);
  const FedText& fed = jobs[0].texts[0];
  ASSERT_EQ(fed.answer.size(), static_cast<size_t>(kLongTokens));
  EXPECT_EQ(std::vector<int32_t>(fed.feed.begin() + 1, fed.feed.end()),
            std::vector<int32_t>(fed.answer.begin(), fed.answer.end() - 1));
}

TEST(LabPlanTest, TextsThatDoNotFitAreNamed) {
  const auto tokenizer = Tiny();
  LabUnit unit;
  unit.questions = 1;
  unit.context = 6;
  const std::string error = UnitJobs(*tokenizer, 20, Task("mine"), unit).status().ToString();
  EXPECT_THAT(error, HasSubstr("task mine, context 7:"));
  EXPECT_THAT(error, HasSubstr("exceed the model's 20 positions"));
  LabTask short_text = TinyLongTask();
  short_text.texts = {{"Too short.", {}}};
  unit.context = 0;
  EXPECT_THAT(UnitJobs(*tokenizer, 4096, short_text, unit).status().ToString(), HasSubstr("too short for 512 tokens"));
}

}  // namespace
}  // namespace decant
