#include "services/lab/lab_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "absl/strings/str_split.h"

namespace decant {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

struct Fixture {
  std::vector<LabPoint> points;
  std::vector<LabTask> tasks;
  Geometry geometry{2, 4, 2, 8};  // 128 bytes per token

  Fixture() {
    points.resize(2);
    points[0].profile = "full";
    points[1].profile = "diffkv";
    points[1].budget = 0.25;
    tasks.resize(2);
    tasks[0].name = "recall";
    tasks[1].name = "long";
    tasks[1].score = LabScore::kTokens;
    tasks[1].span_tokens = 128;
  }
};

PointResult Result(std::vector<std::vector<AnswerScore>> scores, int64_t resident) {
  PointResult result;
  result.scores = std::move(scores);
  result.prompt_tokens = 100;
  result.resident_bytes = resident;
  result.resident_tokens = 100;
  return result;
}

TEST(LabTableTest, ARowHasTheMeansOfItsCell) {
  const Fixture f;
  LabTable table(f.points, f.tasks, f.geometry);
  LabUnit unit;
  unit.length = 512;
  table.Add(unit, {Result({{{4, 4, 0.4, 0}}, {{4, 4, 0.4, 0}}}, 12800),
                   Result({{{4, 4, 0.8, 0.2}}, {{4, 3, 8, 1.8}}}, 3200)});
  unit.context = 1;
  table.Add(unit, {Result({{{2, 1, 1, 0}}}, 12800), Result({{{2, 2, 1, 0}}}, 3200)});
  const std::vector<LabRow> rows = table.Rows();
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[1].profile, "diffkv");
  EXPECT_EQ(rows[1].samples, 3);
  EXPECT_DOUBLE_EQ(rows[0].estimate.accuracy.mean, 2.0 / 3);
  EXPECT_DOUBLE_EQ(rows[1].estimate.accuracy.mean, 2.0 / 3) << "one wrong token makes an answer wrong";
  EXPECT_DOUBLE_EQ(rows[1].estimate.difference.mean, 0);
  EXPECT_LT(rows[1].estimate.difference.low, 0) << "it failed other questions than full";
  EXPECT_DOUBLE_EQ(rows[1].perplexity, std::exp(9.8 / 10));
  EXPECT_DOUBLE_EQ(rows[1].divergence, 0.2);
  EXPECT_DOUBLE_EQ(rows[0].ratio, 1);
  EXPECT_DOUBLE_EQ(rows[1].ratio, 4);
  EXPECT_DOUBLE_EQ(rows[1].bytes_per_token, 32);
}

TEST(LabTableTest, CsvHasTheColumnsThatWerePromised) {
  const Fixture f;
  LabTable table(f.points, f.tasks, f.geometry);
  LabUnit unit;
  unit.length = 512;
  unit.mode = LabMode::kQueryAware;
  table.Add(unit, {Result({{{4, 4, 0, 0}}}, 12800), Result({{{4, 3, 0, 0.5}}}, 3200)});
  const std::vector<std::string> lines = absl::StrSplit(ToCsv(table.Rows()), '\n');
  EXPECT_EQ(lines[0],
            "profile,budget,task,length,mode,samples,accuracy,ci_low,ci_high,perplexity,kl,bytes_per_token,ratio");
  EXPECT_EQ(lines[1], "full,,recall,512,query-aware,1,1,1,1,1,0,128,1");
  EXPECT_EQ(lines[2], "diffkv,0.25,recall,512,query-aware,1,0,0,0,1,0.125,32,4");
}

TEST(LabTableTest, LongOutputHasARowPerSpanAndIsNoneOfAllTasks) {
  const Fixture f;
  LabTable table(f.points, f.tasks, f.geometry);
  LabUnit unit;
  unit.task = 1;
  unit.length = 512;
  const std::vector<AnswerScore> spans = {{128, 64, 1, 12.8}, {128, 128, 1, 25.6}};
  table.Add(unit, {Result({spans}, 12800), Result({spans}, 3200)});
  const std::vector<LabRow> rows = table.Rows();
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_EQ(rows[0].task, "long 1-128");
  EXPECT_EQ(rows[3].task, "long 129-256");
  EXPECT_DOUBLE_EQ(rows[0].estimate.accuracy.mean, 0.5) << "tokens are counted one by one";
  EXPECT_DOUBLE_EQ(rows[3].divergence, 0.2);
  EXPECT_TRUE(table.Summary().empty());
  const std::string text = ToMarkdown("t", {"a note"}, {}, rows);
  EXPECT_THAT(text, HasSubstr("a note"));
  EXPECT_THAT(text, HasSubstr("| diffkv 0.25 | 0.1000 (50.0) | 0.2000 (100.0) | 0 | 25.0 |"));
}

TEST(LabTableTest, TheSummaryPoolsTheTasksOfAMode) {
  const Fixture f;
  LabTable table(f.points, f.tasks, f.geometry);
  LabUnit unit;
  for (const int32_t length : {512, 1024}) {
    unit.length = length;
    table.Add(unit, {Result({{{4, 4, 0, 0}}}, 12800), Result({{{4, length == 512 ? 4 : 0, 0, 0}}}, 3200)});
  }
  const std::vector<LabRow> summary = table.Summary();
  ASSERT_EQ(summary.size(), 2u);
  EXPECT_EQ(summary[1].samples, 2);
  EXPECT_DOUBLE_EQ(summary[1].estimate.difference.mean, -0.5);
  EXPECT_THAT(ToMarkdown("t", {}, summary, {}), HasSubstr("-50.0 [-100.0, +0.0] | undecided |"));
}

TEST(LabTableTest, LengthsAndTasksHaveGroupsOfTheirOwn) {
  const Fixture f;
  LabTable table(f.points, f.tasks, f.geometry);
  LabUnit unit;
  unit.length = 512;
  table.Add(unit, {Result({{{4, 4, 0, 0}}}, 12800), Result({{{4, 4, 0, 0}}}, 3200)});
  EXPECT_TRUE(table.ByLength().empty()) << "one length is all of them";
  ASSERT_EQ(table.ByTask().size(), 2u);
  EXPECT_EQ(table.ByTask()[0].length, 512);
  unit.length = 1024;
  table.Add(unit, {Result({{{4, 4, 0, 0}}}, 12800), Result({{{4, 0, 0, 0}}}, 3200)});
  const std::vector<LabRow> lengths = table.ByLength(), tasks = table.ByTask();
  ASSERT_EQ(lengths.size(), 4u);
  EXPECT_EQ(lengths[1].length, 512);
  EXPECT_EQ(lengths[1].estimate.accuracy.mean, 1);
  EXPECT_EQ(lengths[3].length, 1024);
  EXPECT_EQ(lengths[3].estimate.accuracy.mean, 0);
  ASSERT_EQ(tasks.size(), 2u);
  EXPECT_EQ(tasks[1].task, "recall");
  EXPECT_EQ(tasks[1].length, 0);
  EXPECT_EQ(tasks[1].estimate.accuracy.mean, 0.5);
  const std::string text = ToMarkdown("t", {}, lengths, {});
  EXPECT_THAT(text, HasSubstr("## all tasks, 512 tokens, query-agnostic, 1 questions"));
  EXPECT_THAT(text, HasSubstr("## all tasks, 1024 tokens, query-agnostic, 1 questions"));
}

TEST(LabTableTest, SharesOfTokensAndReadBytesAreThoseOfFull) {
  const Fixture f;
  LabTable table(f.points, f.tasks, f.geometry);
  PointResult full = Result({{{4, 4, 0, 0}}}, 12800), pruned = Result({{{4, 4, 0, 0}}}, 3200);
  full.high_tokens = 400;
  full.steps = 10;
  full.bytes_read = 1000;
  pruned.high_tokens = 100;
  pruned.low_tokens = 60;
  pruned.pruned_tokens = 240;
  pruned.steps = 20;
  pruned.bytes_read = 500;
  pruned.frame_bytes = 1600;
  table.Add(LabUnit(), {full, pruned});
  const std::vector<LabRow> rows = table.Summary();
  EXPECT_DOUBLE_EQ(rows[1].high_share, 0.25);
  EXPECT_DOUBLE_EQ(rows[1].low_share, 0.15);
  EXPECT_DOUBLE_EQ(rows[1].read_share, 0.25) << "a step of one against a step of the other";
  EXPECT_DOUBLE_EQ(rows[0].read_share, 1);
  EXPECT_THAT(ToMarkdown("t", {}, rows, {}), HasSubstr("| 25.0 | 25, 15, 60 | 25 | 12.5 |"));
}

TEST(LabTableTest, ARivalHoldsNoMoreBytesAndHasTheMostRightAnswers) {
  Fixture f;
  f.points.resize(6);
  const char* names[] = {"full", "decant", "decant-window", "snapkv", "kvzip", "k8v4"};
  for (size_t i = 0; i < 6; ++i) f.points[i].profile = names[i];
  LabTable table(f.points, f.tasks, f.geometry);
  const AnswerScore right = {4, 4, 0, 0.4}, wrong = {4, 0, 0, 0.04}, near = {4, 4, 0, 0.01};
  table.Add(LabUnit(),
            {Result({{right}, {right}}, 12800), Result({{right}, {wrong}}, 3200), Result({{right}, {right}}, 3200),
             Result({{wrong}, {wrong}}, 3200), Result({{right}, {right}}, 3200), Result({{near}, {near}}, 3201)});
  const std::vector<LabRival> rivals = table.Rivals("decant");
  ASSERT_EQ(rivals.size(), 1u);
  EXPECT_EQ(rivals[0].best.profile, "kvzip") << "not ours, not full, not the one with more bytes";
  EXPECT_EQ(rivals[0].closest.profile, "snapkv");
  EXPECT_DOUBLE_EQ(rivals[0].difference.mean, -0.5);
  EXPECT_TRUE(table.Rivals("mine").empty());
  EXPECT_THAT(ToMarkdown("t", {}, {}, {}, rivals),
              HasSubstr("| decant 0.25 | 25.0 | 50.0 | 0.0550 | kvzip | 25.0 | 100.0 | 0.1000 | -50.0 ["));
}

TEST(LabTableTest, PassKeysStandByDepthAndLength) {
  Fixture f;
  f.tasks[0].name = "passkey_0";
  f.tasks[1] = f.tasks[0];
  f.tasks[1].name = "passkey_50";
  LabTable table(f.points, f.tasks, f.geometry);
  for (const size_t task : {0u, 1u}) {
    LabUnit unit;
    unit.task = task;
    unit.length = 512;
    table.Add(unit, {Result({{{4, 4, 0, 0}}}, 12800), Result({{{4, task == 0 ? 4 : 0, 0, 0}}}, 3200)});
  }
  const std::string text = ToMarkdown("t", {}, {}, table.Rows());
  EXPECT_THAT(text, HasSubstr("| tokens | profile | 0 | 50 | % of full |"));
  EXPECT_THAT(text, HasSubstr("| 512 | diffkv 0.25 | 100 | 0 | 25.0 |"));
}

}  // namespace
}  // namespace decant
