#include "services/lab/prose.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "services/lab/task.h"
#include "services/lab/words.h"

namespace decant {

int32_t TokensAbout(absl::string_view text) {
  int32_t tokens = 0;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    tokens += absl::ascii_isspace(byte) || absl::ascii_isdigit(byte) || absl::ascii_ispunct(byte) ? 1 : 0;
  }
  return tokens;
}

std::string FillerSentence(Draws& draw) {
  const auto word = [&](absl::Span<const absl::string_view> words) { return std::string(draw.Of(words)); };
  // The draws stand in statements of their own: the order in which a call evaluates its arguments is not fixed.
  const size_t form = draw.Below(6);
  const std::string color = word(kColors), thing = word(kThings), other = word(kThings), place = word(kPlaces);
  const std::string adjective = word(kAdjectives), second = word(kAdjectives), verb = word(kVerbs);
  const std::string name = word(kNames), friend_name = word(kNames);
  switch (form) {
    case 0:
      return absl::StrCat("The ", adjective, " ", thing, " stood in the ", place, ". ");
    case 1:
      return absl::StrCat(name, " ", verb, " a ", color, " ", thing, " near the ", place, ". ");
    case 2:
      return absl::StrCat("In the ", place, " there was a ", adjective, " ", thing, " and a ", color, " ", other, ". ");
    case 3:
      return absl::StrCat("It was a ", adjective, " day and the ", place, " was ", second, ". ");
    case 4:
      return absl::StrCat("Nobody in the ", place, " had seen the ", color, " ", thing, ". ");
    default:
      return absl::StrCat(name, " and ", friend_name, " talked about the ", adjective, " ", thing, ". ");
  }
}

std::string FiveDigits(Draws& draw) {
  std::string digits;
  while (digits.size() < 5) digits += static_cast<char>('0' + draw.Below(10));
  return digits;
}

std::string InventedWord(Draws& draw) {
  std::string word;
  for (int32_t left = draw.Between(2, 3); left > 0; --left) absl::StrAppend(&word, draw.Of(kSyllables));
  return word;
}

std::string Scatter(Draws& draw, std::vector<std::string> facts, int32_t tokens) {
  draw.Shuffle(facts);
  int32_t about = 0;
  for (const std::string& fact : facts) about += TokensAbout(fact);
  while (about < tokens) {
    std::string filler = FillerSentence(draw);
    about += TokensAbout(filler);
    const size_t place = draw.Below(facts.size() + 1);
    facts.insert(facts.begin() + static_cast<std::ptrdiff_t>(place), std::move(filler));
  }
  std::string text;
  for (const std::string& sentence : facts) text += sentence;
  return text;
}

std::string WithoutTrailingSpace(std::string text) {
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

}  // namespace decant
