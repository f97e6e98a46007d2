#include "services/router/answer_text.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/services/router/letter_tokenizer.h"

namespace decant {
namespace {

struct Fed {
  std::vector<std::string> given;  // per token
  bool stopped = false;
  std::string all;
};

// Feeds `text` letter by letter until it ends or stops.
Fed Feed(const std::string& text, std::vector<std::string> stops) {
  const LetterTokenizer tokenizer;
  AnswerText answer(tokenizer, std::move(stops));
  Fed run;
  for (const char letter : text) {
    const auto added = answer.Add(LetterTokenizer::Id(letter));
    EXPECT_TRUE(added.ok());
    run.given.push_back(added->text);
    run.all += added->text;
    run.stopped = added->stopped;
    if (run.stopped) break;
  }
  run.all += *answer.Finish();
  return run;
}

TEST(AnswerTextTest, GivesOutEveryTokenAtOnceWithoutStops) {
  EXPECT_EQ(Feed("abc", {}).given, (std::vector<std::string>{"a", "b", "c"}));
}

TEST(AnswerTextTest, CutsAtAStopStringAndGivesNothingOfIt) {
  const Fed run = Feed("hello END more", {"END"});
  EXPECT_TRUE(run.stopped);
  EXPECT_EQ(run.all, "hello ");
  EXPECT_EQ(run.given.size(), 9u);
}

TEST(AnswerTextTest, HoldsBackWhatMayBecomeAStopString) {
  EXPECT_EQ(Feed("xEy", {"END"}).given, (std::vector<std::string>{"x", "", "Ey"}));
}

TEST(AnswerTextTest, GivesOutWhatWasHeldBackAtTheEnd) {
  const Fed run = Feed("xEN", {"END"});
  EXPECT_FALSE(run.stopped);
  EXPECT_EQ(run.all, "xEN");
}

TEST(AnswerTextTest, FindsAStopThatBeginsInsideAFailedOne) {
  const Fed run = Feed("aabx", {"aab"});
  EXPECT_TRUE(run.stopped);
  EXPECT_EQ(run.all, "");
  EXPECT_EQ(Feed("aaabx", {"aab"}).all, "a");
}

TEST(AnswerTextTest, TakesTheEarliestOfSeveralStops) {
  EXPECT_EQ(Feed("one two", {"two", "e t"}).all, "on");
  EXPECT_EQ(Feed("abcd", {"bcd", "c"}).all, "ab");
}

TEST(AnswerTextTest, StopsOnASingleLetter) { EXPECT_EQ(Feed("ab\ncd", {"\n"}).all, "ab"); }

}  // namespace
}  // namespace decant
