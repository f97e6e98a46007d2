// The tasks of chat models: a user's message with facts in it and the beginning of the assistant's answer.
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/lab/draws.h"
#include "services/lab/prose.h"
#include "services/lab/task.h"
#include "services/lab/words.h"

namespace decant {
namespace {

constexpr int32_t kAskTokens = 45;
constexpr char kUser[] = "<|im_start|>user\n";
constexpr char kAssistant[] = "<|im_end|>\n<|im_start|>assistant\n";

// `facts` at their depths (0 = first sentence, 1 = last) among `sentences`.
std::string Placed(std::vector<std::string> sentences, const std::vector<std::pair<double, std::string>>& facts) {
  const auto count = static_cast<double>(sentences.size());
  // From the end, so that what is already placed stays where it is.
  for (auto fact = facts.rbegin(); fact != facts.rend(); ++fact) {
    const auto place = static_cast<std::ptrdiff_t>(fact->first * count);
    sentences.insert(sentences.begin() + place, fact->second);
  }
  std::string text;
  for (const std::string& sentence : sentences) text += sentence;
  return WithoutTrailingSpace(text);
}

// `percent` of the text stands before the key.
LabText PassKey(int32_t percent, uint64_t seed, int32_t length) {
  static constexpr absl::string_view kDull[] = {"A barge passed the mill. ",
                                                "The road was wet and nobody walked on it. ",
                                                "Smoke rose from two chimneys. ", "Far away a bell was ringing. "};
  Draws draw(seed);
  std::vector<std::string> sentences;
  for (int32_t about = 0; about < length - kAskTokens;) {
    sentences.emplace_back(kDull[sentences.size() % std::size(kDull)]);
    about += TokensAbout(sentences.back());
  }
  const double depth = static_cast<double>(percent) / 100;
  const std::string code = FiveDigits(draw);
  LabText text;
  text.context =
      absl::StrCat(kUser, Placed(sentences, {{depth, absl::StrCat("The pass key is ", code, ". Remember it. ")}}));
  text.questions.push_back(
      {absl::StrCat("\nWhat is the pass key? Answer with the number only.", kAssistant, "The pass key is"),
       absl::StrCat(" ", code)});
  return text;
}

LabText Needles(uint64_t seed, int32_t length) {
  constexpr size_t kNeedles = 4;
  static constexpr absl::string_view kDrinks[] = {"tea",  "coffee", "milk",  "water", "juice",
                                                  "wine", "beer",   "cocoa", "soup",  "lemonade"};
  Draws draw(seed);
  const auto people = draw.Sample(kNames, kNeedles);
  const auto drinks = draw.Sample(kDrinks, kNeedles);
  std::vector<std::string> sentences;
  for (int32_t about = 0; about < length - kAskTokens;) {
    sentences.push_back(FillerSentence(draw));
    about += TokensAbout(sentences.back());
  }
  std::vector<std::pair<double, std::string>> facts;
  LabText text;
  for (size_t i = 0; i < kNeedles; ++i) {
    // One somewhere in each quarter of the text.
    const double depth = (static_cast<double>(i) + static_cast<double>(draw.Below(1000)) / 1000) / kNeedles;
    facts.emplace_back(depth, absl::StrCat("The favourite drink of ", people[i], " is ", drinks[i], ". "));
    text.questions.push_back({absl::StrCat("\nWhat is the favourite drink of ", people[i], "?", kAssistant,
                                           "The favourite drink of ", people[i], " is"),
                              absl::StrCat(" ", drinks[i])});
  }
  text.context = absl::StrCat(kUser, Placed(sentences, facts));
  return text;
}

LabText LongProse(uint64_t seed, int32_t length) {
  Draws draw(seed);
  LabText text;
  for (int32_t about = 0; about < length + kLongTokens + kLongTokens / 4;) {
    const std::string sentence = FillerSentence(draw);
    about += TokensAbout(sentence);
    text.context += sentence;
  }
  return text;
}

}  // namespace

std::vector<LabTask> ChatTasks() {
  std::vector<LabTask> tasks;
  for (const int32_t percent : {0, 25, 50, 75, 100}) {
    const auto make = [percent](uint64_t seed, int32_t length) { return PassKey(percent, seed, length); };
    tasks.push_back({absl::StrCat(kPassKey, percent), LabScore::kWhole, 0, make, {}});
  }
  tasks.push_back({"needle", LabScore::kWhole, 0, Needles, {}});
  return tasks;
}

LabTask ChatLongTask() { return {"long", LabScore::kTokens, kLongSpan, LongProse, {}}; }

}  // namespace decant
