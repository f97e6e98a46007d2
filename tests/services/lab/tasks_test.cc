#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/digest.h"
#include "common/model/tokenizer.h"
#include "services/lab/task.h"
#include "tests/support/paths/paths.h"

namespace decant {
namespace {

std::vector<LabTask> AllTasks() {
  std::vector<LabTask> tasks = TinyTasks();
  tasks.push_back(TinyLongTask());
  for (LabTask& task : ChatTasks()) tasks.push_back(std::move(task));
  LabTask prose = ChatLongTask();
  prose.name = "chat long";
  tasks.push_back(std::move(prose));
  return tasks;
}

std::string Digests(const LabTask& task) {
  std::string all;
  for (uint64_t seed = 0; seed < 5; ++seed) {
    const LabText text = task.make(seed, 512);
    absl::StrAppend(&all, text.context, "|");
    for (const LabQuestion& question : text.questions) absl::StrAppend(&all, question.ask, "|", question.answer, "|");
  }
  return Sha256(all).Hex().substr(0, 16);
}

// Published figures are of these texts: a changed digest is a changed task, and old tables no longer compare.
TEST(TasksTest, TheSameSeedGivesTheSameTextOnEveryMachine) {
  std::vector<std::string> found;
  for (const LabTask& task : AllTasks()) found.push_back(absl::StrCat(task.name, " ", Digests(task)));
  EXPECT_THAT(found, testing::ElementsAre(
                         "recall 90931c6f176b6789", "multi_recall fbc0eadb720e345a", "two_hop 31a3482839f533b3",
                         "moves ea4d00711455c495", "labels fb48751b527b3cf8", "documents d23da507268d8016",
                         "repeat c3a1416b9f92788d", "long 241b1161eb1e86e4", "passkey_0 5607f70cfa5633a9",
                         "passkey_25 e40e4d0885537a4a", "passkey_50 b2aaa90007c30948", "passkey_75 4be4329be60dab75",
                         "passkey_100 2b7da5ed3bd8c977", "needle ce4672aea5e33fdf", "chat long 84001e6150b06f36"));
}

TEST(TasksTest, DifferentSeedsGiveDifferentTexts) {
  for (const LabTask& task : AllTasks()) EXPECT_NE(task.make(1, 512).context, task.make(2, 512).context) << task.name;
}

TEST(TasksTest, WhatIsAskedIsInTheContext) {
  for (const LabTask& task : TinyTasks()) {
    if (task.name == "two_hop" || task.name == "documents") continue;  // answers are put together there
    for (uint64_t seed = 0; seed < 20; ++seed) {
      const LabText text = task.make(seed, 512);
      ASSERT_FALSE(text.questions.empty());
      for (const LabQuestion& question : text.questions) {
        EXPECT_TRUE(absl::StrContains(text.context, absl::string_view(question.answer).substr(1))) << question.answer;
      }
    }
  }
}

TEST(TasksTest, ContextsOfTheTinyModelAreAboutAsLongAsAsked) {
  const auto tokenizer = Tokenizer::Open(SourceDir() + "/deploy/models/decant-tiny").value();
  for (const LabTask& task : TinyTasks()) {
    for (const int32_t length : {512, 2048}) {
      double tokens = 0;
      for (uint64_t seed = 0; seed < 5; ++seed) {
        const auto ids = tokenizer->Encode(task.make(seed, length).context).value();
        tokens += static_cast<double>(ids.size()) / 5;
      }
      EXPECT_NEAR(tokens / length, 1.0, 0.12) << task.name << " " << length;
    }
  }
}

// Context, question and answer are tokenised apart; the model must see the tokens of the whole text all the same.
TEST(TasksTest, PiecesHaveTheTokensOfTheWholeText) {
  const auto tokenizer = Tokenizer::Open(SourceDir() + "/deploy/models/decant-tiny").value();
  const size_t begin = tokenizer->Encode("").value().size();
  for (const LabTask& task : TinyTasks()) {
    const LabText text = task.make(3, 512);
    for (const LabQuestion& question : text.questions) {
      std::vector<int32_t> pieces = tokenizer->Encode(text.context).value();
      for (const std::string& piece : {question.ask, question.answer}) {
        const auto ids = tokenizer->Encode(piece).value();
        pieces.insert(pieces.end(), ids.begin() + static_cast<std::ptrdiff_t>(begin), ids.end());
      }
      EXPECT_EQ(pieces, tokenizer->Encode(text.context + question.ask + question.answer).value()) << task.name;
    }
  }
}

TEST(TasksTest, ShortLengthsStillGiveQuestions) {
  for (const LabTask& task : AllTasks()) {
    const LabText text = task.make(1, 1);
    EXPECT_FALSE(text.context.empty()) << task.name;
    EXPECT_EQ(text.questions.empty(), task.span_tokens > 0) << task.name;
  }
}

}  // namespace
}  // namespace decant
