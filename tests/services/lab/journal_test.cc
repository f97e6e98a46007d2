#include "services/lab/journal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace decant {
namespace {

using testing::HasSubstr;

std::string FreshPath(const std::string& name) {
  const std::string path = testing::TempDir() + "/decant_journal_" + name + ".jsonl";
  std::filesystem::remove(path);
  return path;
}

PointResult Result(double surprise) {
  PointResult result;
  result.scores = {{{6, 5, surprise, 0.125}}, {{6, 6, 0.1, 1e-9}, {2, 0, 3, 4}}};
  result.prompt_tokens = 512;
  result.resident_bytes = 1 << 20;
  result.resident_tokens = 600;
  result.frame_bytes = 12345;
  result.high_tokens = 11;
  result.low_tokens = 22;
  result.pruned_tokens = 33;
  result.encode_seconds = 0.25;
  result.steps = 44;
  result.bytes_read = 55;
  result.online_events = 7;
  return result;
}

TEST(JournalTest, AReopenedJournalHasWhatWasWritten) {
  const std::string path = FreshPath("reopen");
  {
    Journal journal = Journal::Open(path, {{"model", "a"}}).value();
    ASSERT_TRUE(journal.Append("u/1", {"full", "snapkv 0.2"}, {Result(1.0 / 3), Result(2)}).ok());
  }
  const Journal journal = Journal::Open(path, {{"model", "a"}}).value();
  EXPECT_EQ(journal.Find("u/2", "full"), nullptr);
  EXPECT_EQ(journal.Find("u/1", "k8v4"), nullptr);
  ASSERT_NE(journal.Find("u/1", "snapkv 0.2"), nullptr);
  EXPECT_EQ(journal.Find("u/1", "snapkv 0.2")->scores[0][0].surprise, 2);
  const PointResult* full = journal.Find("u/1", "full");
  ASSERT_NE(full, nullptr);
  const PointResult expected = Result(1.0 / 3);
  EXPECT_EQ(full->scores, expected.scores);
  EXPECT_EQ(full->prompt_tokens, expected.prompt_tokens);
  EXPECT_EQ(full->resident_bytes, expected.resident_bytes);
  EXPECT_EQ(full->resident_tokens, expected.resident_tokens);
  EXPECT_EQ(full->frame_bytes, expected.frame_bytes);
  EXPECT_EQ(full->high_tokens, expected.high_tokens);
  EXPECT_EQ(full->low_tokens, expected.low_tokens);
  EXPECT_EQ(full->pruned_tokens, expected.pruned_tokens);
  EXPECT_EQ(full->steps, expected.steps);
  EXPECT_EQ(full->bytes_read, expected.bytes_read);
  EXPECT_EQ(full->encode_seconds, expected.encode_seconds);
  EXPECT_EQ(full->online_events, expected.online_events);
}

TEST(JournalTest, AnotherCommandIsRefusedAndTheDifferenceNamed) {
  const std::string path = FreshPath("other");
  ASSERT_TRUE(Journal::Open(path, {{"samples", "40"}, {"model", "a"}}).ok());
  const absl::Status status = Journal::Open(path, {{"samples", "80"}, {"model", "a"}}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.ToString(), HasSubstr("samples 40, this one has 80"));
}

TEST(JournalTest, PointsOfAUnitMayComeOneAfterTheOther) {
  const std::string path = FreshPath("points");
  {
    Journal journal = Journal::Open(path, {}).value();
    ASSERT_TRUE(journal.Append("u/1", {"full"}, {Result(1)}).ok());
    ASSERT_TRUE(journal.Append("u/1", {"k8v4"}, {Result(2)}).ok());
  }
  const Journal journal = Journal::Open(path, {}).value();
  ASSERT_NE(journal.Find("u/1", "full"), nullptr);
  ASSERT_NE(journal.Find("u/1", "k8v4"), nullptr);
  EXPECT_EQ(journal.Find("u/1", "full")->scores[0][0].surprise, 1);
  EXPECT_EQ(journal.Find("u/1", "k8v4")->scores[0][0].surprise, 2);
}

TEST(JournalTest, AUnitThatWasCutShortIsMeasuredAgain) {
  const std::string path = FreshPath("cut");
  {
    Journal journal = Journal::Open(path, {}).value();
    ASSERT_TRUE(journal.Append("u/1", {"full"}, {Result(1)}).ok());
    ASSERT_TRUE(journal.Append("u/2", {"full"}, {Result(2)}).ok());
  }
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 9);
  {
    Journal journal = Journal::Open(path, {}).value();
    EXPECT_NE(journal.Find("u/1", "full"), nullptr);
    EXPECT_EQ(journal.Find("u/2", "full"), nullptr);
    ASSERT_TRUE(journal.Append("u/2", {"full"}, {Result(3)}).ok());
  }
  const Journal journal = Journal::Open(path, {}).value();
  ASSERT_NE(journal.Find("u/2", "full"), nullptr);
  EXPECT_EQ(journal.Find("u/2", "full")->scores[0][0].surprise, 3);
}

TEST(JournalTest, ALineOfSomethingElseIsNamed) {
  const std::string path = FreshPath("strange");
  ASSERT_TRUE(Journal::Open(path, {}).ok());
  std::ofstream(path, std::ios::app) << "{\"unit\": 5}\n";
  const absl::Status status = Journal::Open(path, {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(status.ToString(), HasSubstr("line 2 is no line of a lab journal"));
}

TEST(JournalTest, AFolderThatIsNotThereIsAnError) {
  EXPECT_EQ(Journal::Open("/nowhere/at/all.jsonl", {}).status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace decant
