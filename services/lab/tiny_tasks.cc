// The tasks of decant-tiny: the forms of its training text, drawn with other seeds and another generator.
#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "services/lab/draws.h"
#include "services/lab/prose.h"
#include "services/lab/task.h"
#include "services/lab/words.h"

namespace decant {
namespace {

constexpr size_t kQuestions = 4;     // per context
constexpr int32_t kAskTokens = 20;   // what a question and its answer take
constexpr int32_t kFactTokens = 13;  // "The code of Alice is 12345. "

// A share of the context that facts may fill, so that filler remains between them.
size_t MostFacts(int32_t length) { return static_cast<size_t>(std::max(2, length / (2 * kFactTokens))); }

LabText Recall(uint64_t seed, int32_t length, size_t least, size_t most) {
  Draws draw(seed);
  const size_t cap = std::min(std::size(kNames), MostFacts(length));
  const auto people = draw.Sample(kNames, static_cast<size_t>(draw.Between(static_cast<int32_t>(std::min(least, cap)),
                                                                           static_cast<int32_t>(std::min(most, cap)))));
  static constexpr absl::string_view kWhat[] = {"code", "number", "key"};
  const absl::string_view what = draw.Of(kWhat);
  std::vector<std::string> facts, codes;
  for (const absl::string_view name : people) {
    codes.push_back(FiveDigits(draw));
    facts.push_back(absl::StrCat("The ", what, " of ", name, " is ", codes.back(), ". "));
  }
  LabText text;
  text.context = WithoutTrailingSpace(Scatter(draw, facts, length - kAskTokens));
  // The people were drawn in random order, the facts shuffled: the first few are as good as any.
  for (size_t i = 0; i < std::min(kQuestions, people.size()); ++i) {
    text.questions.push_back({absl::StrCat(" Question: what is the ", what, " of ", people[i], "? Answer:"),
                              absl::StrCat(" ", codes[i], ".")});
  }
  return text;
}

LabText OneKey(uint64_t seed, int32_t length) { return Recall(seed, length, 4, 6); }
LabText ManyKeys(uint64_t seed, int32_t length) { return Recall(seed, length, 8, 24); }

LabText TwoHop(uint64_t seed, int32_t length) {
  Draws draw(seed);
  const size_t most = std::min<size_t>(12, MostFacts(length) / 2);
  const auto half = static_cast<size_t>(draw.Between(2, static_cast<int32_t>(std::max<size_t>(2, most))));
  const auto people = draw.Sample(kNames, 2 * half);
  std::vector<std::string> facts, codes;
  for (size_t i = 0; i < half; ++i) {
    codes.push_back(FiveDigits(draw));
    facts.push_back(absl::StrCat(people[i], " works with ", people[half + i], ". "));
    facts.push_back(absl::StrCat("The code of ", people[half + i], " is ", codes.back(), ". "));
  }
  LabText text;
  text.context = WithoutTrailingSpace(Scatter(draw, facts, length - kAskTokens));
  // Half of the questions want one hop, half both.
  for (size_t i = 0; i < kQuestions; ++i) {
    const size_t who = i % half;
    if (i % 2 == 0) {
      text.questions.push_back({absl::StrCat(" Question: who works with ", people[who], "? Answer:"),
                                absl::StrCat(" ", people[half + who], ".")});
    } else {
      text.questions.push_back(
          {absl::StrCat(" Question: what is the code of the partner of ", people[who], "? Answer:"),
           absl::StrCat(" ", people[half + who], " ", codes[who], ".")});
    }
  }
  return text;
}

LabText Moves(uint64_t seed, int32_t length) {
  Draws draw(seed);
  const auto people = draw.Sample(kNames, static_cast<size_t>(draw.Between(2, 8)));
  std::map<std::string, std::string> place;
  LabText text;
  int32_t about = 0;
  while (about < length - kAskTokens || place.empty()) {
    std::string sentence;
    if (draw.Below(2) == 0) {
      const std::string who(draw.Of(people));
      place[who] = std::string(draw.Of(kPlaces));
      sentence = absl::StrCat(who, " went to the ", place[who], ". ");
    } else {
      sentence = FillerSentence(draw);
    }
    about += TokensAbout(sentence);
    text.context += sentence;
  }
  text.context = WithoutTrailingSpace(text.context);
  for (const absl::string_view who : people) {
    const auto known = place.find(std::string(who));
    if (known == place.end() || text.questions.size() == kQuestions) continue;
    text.questions.push_back(
        {absl::StrCat(" Question: where is ", who, " now? Answer:"), absl::StrCat(" ", known->second, ".")});
  }
  return text;
}

struct LabelStream {
  std::string text;
  std::vector<absl::string_view> things;
  std::map<absl::string_view, std::string> label;
};

// "lamp -> bade ; egg -> kilo ; ..." of about `tokens` tokens, every thing at least once.
LabelStream Labels(Draws& draw, int32_t tokens) {
  LabelStream stream;
  stream.things = draw.Sample(kThings, static_cast<size_t>(draw.Between(4, std::clamp(tokens / 15, 4, 16))));
  for (const absl::string_view thing : stream.things) stream.label[thing] = InventedWord(draw);
  std::set<absl::string_view> seen;
  // A label is an invented word and takes some tokens more than the estimate has for it.
  for (int32_t about = 0; about < tokens || seen.size() < stream.things.size();) {
    const absl::string_view thing = draw.Of(stream.things);
    seen.insert(thing);
    const std::string pair = absl::StrCat(stream.text.empty() ? "" : " ", thing, " -> ", stream.label[thing], " ;");
    about += TokensAbout(pair) - 1;
    stream.text += pair;
  }
  return stream;
}

LabText LabelQuestions(uint64_t seed, int32_t length) {
  Draws draw(seed);
  const LabelStream stream = Labels(draw, length - kAskTokens);
  LabText text;
  text.context = stream.text;
  for (size_t i = 0; i < kQuestions; ++i) {
    const absl::string_view thing = stream.things[i];
    text.questions.push_back({absl::StrCat(" ", thing, " ->"), absl::StrCat(" ", stream.label.at(thing), " ;")});
  }
  return text;
}

LabText Documents(uint64_t seed, int32_t length) {
  Draws draw(seed);
  const auto count = static_cast<size_t>(draw.Between(2, std::clamp(length / 50, 2, 10)));
  const auto places = draw.Sample(kPlaces, count);
  LabText text;
  std::vector<LabQuestion> questions;
  for (size_t i = 0; i < count; ++i) {
    const std::string owner(draw.Of(kNames)), color(draw.Of(kColors)), thing(draw.Of(kThings)), code = FiveDigits(draw);
    const absl::string_view place = places[i];
    const std::vector<std::string> facts = {absl::StrCat("The owner of the ", place, " is ", owner, ". "),
                                            absl::StrCat("The ", place, " keeps a ", color, " ", thing, ". "),
                                            absl::StrCat("The door of the ", place, " opens with ", code, ". ")};
    const auto tokens = static_cast<int32_t>((length - kAskTokens) / static_cast<int32_t>(count));
    absl::StrAppend(&text.context, "Document ", i + 1, ": ", Scatter(draw, facts, tokens - 4), "\n");
    const std::string ask = absl::StrCat("Question: in document ", i + 1, ", ");
    questions.push_back(
        {absl::StrCat(ask, "who is the owner of the ", place, "? Answer:"), absl::StrCat(" ", owner, ".")});
    questions.push_back({absl::StrCat(ask, "what opens the door? Answer:"), absl::StrCat(" ", code, ".")});
    questions.push_back({absl::StrCat("Question: what does the ", place, " keep? Answer:"),
                         absl::StrCat(" a ", color, " ", thing, ".")});
  }
  draw.Shuffle(questions);
  questions.resize(std::min(kQuestions, questions.size()));
  text.questions = std::move(questions);
  return text;
}

LabText Repeat(uint64_t seed, int32_t length) {
  constexpr size_t kSentences = 4;  // to repeat
  constexpr int kLead = 6;          // words given of them
  Draws draw(seed);
  std::vector<std::string> sentences;
  for (int32_t about = 0; about < length - 2 * kAskTokens || sentences.size() < kSentences;) {
    if (draw.Below(5) < 3) {
      sentences.push_back(FillerSentence(draw));
    } else {
      const absl::string_view name = draw.Of(kNames);
      sentences.push_back(absl::StrCat("The code of ", name, " is ", FiveDigits(draw), ". "));
    }
    about += TokensAbout(sentences.back());
  }
  LabText text;
  for (const std::string& sentence : sentences) text.context += sentence;
  text.context = WithoutTrailingSpace(text.context);
  for (int i = 0; i < 2; ++i) {
    const size_t first = draw.Below(sentences.size() - kSentences + 1);
    std::string tail;
    for (size_t s = first; s < first + kSentences; ++s) tail += sentences[s];
    const std::vector<std::string> words = absl::StrSplit(tail, ' ');
    std::string lead = " Repeat the part of the previous context exactly, starting with";
    for (size_t w = 0; w < kLead; ++w) absl::StrAppend(&lead, " ", words[w]);
    text.questions.push_back({absl::StrCat(lead, ":"), absl::StrCat(" ", WithoutTrailingSpace(tail))});
  }
  return text;
}

LabText LongLabels(uint64_t seed, int32_t length) {
  Draws draw(seed);
  const LabelStream stream = Labels(draw, length + kLongTokens + kLongTokens / 4);
  return {stream.text, {}};
}

}  // namespace

std::vector<LabTask> TinyTasks() {
  return {{"recall", LabScore::kWhole, 0, OneKey, {}},         {"multi_recall", LabScore::kWhole, 0, ManyKeys, {}},
          {"two_hop", LabScore::kWhole, 0, TwoHop, {}},        {"moves", LabScore::kWhole, 0, Moves, {}},
          {"labels", LabScore::kWhole, 0, LabelQuestions, {}}, {"documents", LabScore::kWhole, 0, Documents, {}},
          {"repeat", LabScore::kTokens, 0, Repeat, {}}};
}

LabTask TinyLongTask() { return {"long", LabScore::kTokens, kLongSpan, LongLabels, {}}; }

}  // namespace decant
