#include "common/model/byte_level.h"

#include <array>
#include <cstdint>

#include "common/model/unicode.h"

namespace decant {
namespace {

constexpr bool Prints(int byte) {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

struct Alphabet {
  std::array<char32_t, 256> char_of{};
  std::array<int16_t, 0x144> byte_of{};  // -1 for a character that stands for no byte

  constexpr Alphabet() {
    for (int16_t& byte : byte_of) byte = -1;
    char32_t next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const char32_t c = Prints(byte) ? static_cast<char32_t>(byte) : next++;
      char_of[static_cast<size_t>(byte)] = c;
      byte_of[c] = static_cast<int16_t>(byte);
    }
  }
};
constexpr Alphabet kAlphabet;

}  // namespace

std::string BytesToChars(absl::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() + bytes.size() / 4);
  for (const char byte : bytes) AppendChar(kAlphabet.char_of[static_cast<uint8_t>(byte)], out);
  return out;
}

void AppendCharsAsBytes(absl::string_view token, std::string& bytes) {
  const size_t before = bytes.size();
  for (size_t at = 0; at < token.size(); at += CharBytes(token, at)) {
    const char32_t c = CharAt(token, at);
    const int16_t byte = c < kAlphabet.byte_of.size() ? kAlphabet.byte_of[c] : int16_t{-1};
    if (byte < 0) {
      bytes.resize(before);
      bytes.append(token.data(), token.size());
      return;
    }
    bytes.push_back(static_cast<char>(byte));
  }
}

}  // namespace decant
