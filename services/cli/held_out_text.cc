#include "services/cli/held_out_text.h"

#include <algorithm>
#include <array>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/base/random.h"

namespace decant {
namespace {

constexpr std::array<absl::string_view, 24> kNames = {
    "Alice", "Bruno", "Clara", "Dario", "Elena", "Felix", "Greta", "Hugo",  "Irene", "Jonas", "Karin", "Leon",
    "Marta", "Nils",  "Olga",  "Pavel", "Quinn", "Rosa",  "Simon", "Tilda", "Vera",  "Xenia", "Yusuf", "Zoe"};
constexpr std::array<absl::string_view, 12> kThings = {"lamp",   "kettle",  "violin", "mirror",  "basket",  "ladder",
                                                       "candle", "compass", "helmet", "blanket", "lantern", "guitar"};
constexpr std::array<absl::string_view, 10> kPlaces = {"kitchen", "garden", "library", "station", "harbor",
                                                       "market",  "museum", "forest",  "castle",  "village"};
constexpr std::array<absl::string_view, 6> kColors = {"red", "blue", "green", "silver", "golden", "purple"};
constexpr std::array<absl::string_view, 6> kVerbs = {"found", "painted", "carried", "sold", "repaired", "borrowed"};
constexpr std::array<absl::string_view, 8> kAdjectives = {"old",  "quiet", "heavy",  "small",
                                                          "warm", "tall",  "narrow", "famous"};

class Draws {
 public:
  explicit Draws(uint64_t seed) : seed_(seed) {}
  size_t Below(size_t count) { return static_cast<size_t>(MixBits(seed_, position_++) % count); }
  template <typename List>
  absl::string_view Of(const List& list) {
    return list[Below(list.size())];
  }

 private:
  const uint64_t seed_;
  uint64_t position_ = 0;
};

std::string Filler(Draws& draw) {
  switch (draw.Below(4)) {
    case 0:
      return absl::StrCat("The ", draw.Of(kAdjectives), " ", draw.Of(kThings), " stood in the ", draw.Of(kPlaces),
                          ". ");
    case 1:
      return absl::StrCat(draw.Of(kNames), " ", draw.Of(kVerbs), " a ", draw.Of(kColors), " ", draw.Of(kThings),
                          " near the ", draw.Of(kPlaces), ". ");
    case 2:
      return absl::StrCat("It was a ", draw.Of(kAdjectives), " day and the ", draw.Of(kPlaces), " was ",
                          draw.Of(kAdjectives), ". ");
    default:
      return absl::StrCat("Nobody in the ", draw.Of(kPlaces), " had seen the ", draw.Of(kColors), " ", draw.Of(kThings),
                          ". ");
  }
}

}  // namespace

std::string HeldOutText(uint64_t seed, int32_t words) {
  constexpr size_t kPeople = 6;
  constexpr int32_t kFillerWords = 8;
  Draws draw(seed);
  const size_t first = draw.Below(kNames.size());
  std::vector<std::string> sentences;
  for (size_t i = 0; i < kPeople; ++i) {
    std::string code;
    while (code.size() < 5) absl::StrAppend(&code, draw.Below(10));
    sentences.push_back(absl::StrCat("The code of ", kNames[(first + i) % kNames.size()], " is ", code, ". "));
  }
  while (static_cast<int32_t>(sentences.size()) * kFillerWords < words) {
    const size_t place = draw.Below(sentences.size() + 1);
    sentences.insert(sentences.begin() + static_cast<std::ptrdiff_t>(place), Filler(draw));
  }
  std::string text;
  for (const std::string& sentence : sentences) text += sentence;
  const absl::string_view asked = kNames[(first + draw.Below(kPeople)) % kNames.size()];
  return absl::StrCat(text, "Question: what is the code of ", asked, "? Answer:");
}

}  // namespace decant
