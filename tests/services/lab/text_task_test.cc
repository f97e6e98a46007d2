#include "services/lab/text_task.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "services/lab/lab_plan.h"
#include "tests/support/paths/paths.h"

namespace decant {
namespace {

using testing::HasSubstr;

const Tokenizer& Tiny() {
  static const auto tokenizer = Tokenizer::Open(SourceDir() + "/deploy/models/decant-tiny").value();
  return *tokenizer;
}

std::string Text(const std::string& name, int words) {
  const std::string path = testing::TempDir() + "/" + name + ".txt";
  std::ofstream file(path);
  for (int i = 0; i < words; ++i) file << " river " << i % 10;
  return path;
}

TEST(TextTaskTest, WindowsFollowEachOtherFromAQuarterOfTheText) {
  const std::string path = Text("windows", 5000);
  const LabTask task = ReadTextTask(path, Tiny(), 2).value();
  EXPECT_EQ(task.name, "windows");
  ASSERT_EQ(task.texts.size(), 3u) << "two and the one that thresholds are set on";
  std::ifstream file(path);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const std::vector<int32_t> ids = Tiny().Encode(text.substr(text.size() / 4)).value();
  for (size_t i = 0; i < 3 * kWindowTokens; ++i) {
    ASSERT_EQ(task.texts[i / kWindowTokens].ids[i % kWindowTokens], ids[i]) << i;
  }
}

TEST(TextTaskTest, WhatFollowsThePromptIsFedAndScored) {
  const std::vector<LabTask> tasks = {ReadTextTask(Text("fed", 5000), Tiny(), 2).value()};
  LabGrid grid;
  grid.lengths = {256};
  grid.modes = {LabMode::kQueryAgnostic, LabMode::kQueryAware};
  grid.samples = 2;
  const std::vector<LabUnit> units = PlanUnits(tasks, grid);
  ASSERT_EQ(units.size(), 2u) << "there is no question that a mode could know";
  const std::vector<LabJob> jobs = UnitJobs(Tiny(), 4096, tasks[0], units[1]).value();
  ASSERT_EQ(jobs.size(), 1u);
  const std::vector<int32_t>& ids = tasks[0].texts[1].ids;
  EXPECT_EQ(jobs[0].prompt, std::vector<int32_t>(ids.begin(), ids.begin() + 256));
  ASSERT_EQ(jobs[0].texts.size(), 1u);
  EXPECT_EQ(jobs[0].texts[0].feed, std::vector<int32_t>(ids.begin() + 256, ids.end() - 1));
  EXPECT_EQ(jobs[0].texts[0].answer, std::vector<int32_t>(ids.begin() + 257, ids.end()));
}

TEST(TextTaskTest, ShortAndMissingTextsAreNamed) {
  EXPECT_THAT(ReadTextTask(Text("short", 100), Tiny(), 3).status().ToString(), HasSubstr("need 6144"));
  EXPECT_THAT(ReadTextTask("/nowhere/t.txt", Tiny(), 3).status().ToString(), HasSubstr("cannot read the text"));
}

}  // namespace
}  // namespace decant
