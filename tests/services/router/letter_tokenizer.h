// A tokenizer whose behaviour is plain to see: one byte of text is one token, and a token is the letter of its number.
#ifndef DECANT_TESTS_SERVICES_ROUTER_LETTER_TOKENIZER_H_
#define DECANT_TESTS_SERVICES_ROUTER_LETTER_TOKENIZER_H_

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/model/tokenizer.h"

namespace decant {

class LetterTokenizer final : public Tokenizer {
 public:
  static constexpr int32_t kVocabulary = 1024;
  static constexpr int32_t kEnd = 1023;     // an end token
  static constexpr int32_t kNoText = 1000;  // from here to kEnd: in the model's vocabulary, not in the tokenizer's

  static int32_t Id(char letter) { return static_cast<unsigned char>(letter); }
  static std::vector<int32_t> Ids(absl::string_view text) {
    std::vector<int32_t> ids;
    for (const char c : text) ids.push_back(Id(c));
    return ids;
  }

  absl::StatusOr<std::vector<int32_t>> Encode(absl::string_view text) const override { return Ids(text); }
  absl::StatusOr<std::string> Decode(absl::Span<const int32_t> ids, bool /*skip_special*/) const override {
    std::string text;
    for (const int32_t id : ids) {
      if (id < 0 || id >= kNoText) return absl::InvalidArgumentError(absl::StrCat("no token ", id));
      text += id < 128 ? static_cast<char>(id) : static_cast<char>('a' + id % 26);
    }
    return text;
  }
  int32_t vocabulary() const override { return kNoText; }
  Digest fingerprint() const override { return Sha256("letters"); }
};

}  // namespace decant

#endif  // DECANT_TESTS_SERVICES_ROUTER_LETTER_TOKENIZER_H_
