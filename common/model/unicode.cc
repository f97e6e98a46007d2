#include "common/model/unicode.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>

#include <algorithm>

#include "common/base/check.h"

namespace decant {
namespace {

// The character at the start of a text: its length when valid, else how many bytes were right until one was not.
struct Sequence {
  size_t bytes;
  bool valid;
};

// Lead byte and allowed range of the second byte, by table 3-7 of the Unicode standard.
Sequence FirstSequence(absl::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return {1, true};
  if (lead < 0xc2 || lead > 0xf4) return {1, false};
  const size_t length = lead < 0xe0 ? 2 : (lead < 0xf0 ? 3 : 4);
  uint8_t low = 0x80;
  uint8_t high = 0xbf;
  if (lead == 0xe0) low = 0xa0;
  if (lead == 0xed) high = 0x9f;
  if (lead == 0xf0) low = 0x90;
  if (lead == 0xf4) high = 0x8f;
  for (size_t i = 1; i < length; ++i) {
    if (i >= text.size() || byte(i) < low || byte(i) > high) return {i, false};
    low = 0x80;
    high = 0xbf;
  }
  return {length, true};
}

}  // namespace

size_t ValidUtf8Prefix(absl::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    const Sequence sequence = FirstSequence(text.substr(at));
    if (!sequence.valid) break;
    at += sequence.bytes;
  }
  return at;
}

std::string ReplaceInvalidUtf8(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (true) {
    const size_t valid = ValidUtf8Prefix(text);
    out.append(text.data(), valid);
    text.remove_prefix(valid);
    if (text.empty()) return out;
    text.remove_prefix(FirstSequence(text).bytes);
    out.append("\xEF\xBF\xBD");
  }
}

size_t CharBytes(absl::string_view text, size_t at) {
  const uint8_t lead = static_cast<uint8_t>(text[at]);
  if (lead < 0x80) return 1;
  return lead < 0xe0 ? 2 : (lead < 0xf0 ? 3 : 4);
}

char32_t CharAt(absl::string_view text, size_t at) {
  const size_t bytes = CharBytes(text, at);
  const uint8_t lead = static_cast<uint8_t>(text[at]);
  if (bytes == 1) return lead;
  char32_t c = lead & (0x7fu >> bytes);
  for (size_t i = 1; i < bytes; ++i) c = (c << 6) | (static_cast<uint8_t>(text[at + i]) & 0x3fu);
  return c;
}

void AppendChar(char32_t c, std::string& out) {
  const auto put = [&out](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (c < 0x80) return put(c);
  if (c < 0x800) {
    put(0xc0 | (c >> 6));
  } else if (c < 0x10000) {
    put(0xe0 | (c >> 12));
    put(0x80 | ((c >> 6) & 0x3f));
  } else {
    put(0xf0 | (c >> 18));
    put(0x80 | ((c >> 12) & 0x3f));
    put(0x80 | ((c >> 6) & 0x3f));
  }
  put(0x80 | (c & 0x3f));
}

bool IsWhiteSpace(char32_t c) { return u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_WHITE_SPACE) != 0; }

bool IsNumber(char32_t c) {
  return (U_GET_GC_MASK(static_cast<UChar32>(c)) & (U_GC_ND_MASK | U_GC_NL_MASK | U_GC_NO_MASK)) != 0;
}

bool IsPunctuation(char32_t c) {
  const bool ascii_sign = c > 0x20 && c < 0x7f && u_isalnum(static_cast<UChar32>(c)) == 0;
  return ascii_sign || (U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_P_MASK) != 0;
}

bool IsWordChar(char32_t c) {
  const UChar32 u = static_cast<UChar32>(c);
  return (U_GET_GC_MASK(u) & (U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)) != 0 ||
         u_hasBinaryProperty(u, UCHAR_ALPHABETIC) != 0 || u_hasBinaryProperty(u, UCHAR_JOIN_CONTROL) != 0;
}

std::string Normalized(absl::string_view text, NormalForm form) {
  // ASCII is the same in every form.
  if (std::all_of(text.begin(), text.end(), [](char c) { return static_cast<uint8_t>(c) < 0x80; })) {
    return std::string(text);
  }
  UErrorCode error = U_ZERO_ERROR;
  const icu::Normalizer2* normalizer = nullptr;
  switch (form) {
    case NormalForm::kNfc:
      normalizer = icu::Normalizer2::getNFCInstance(error);
      break;
    case NormalForm::kNfd:
      normalizer = icu::Normalizer2::getNFDInstance(error);
      break;
    case NormalForm::kNfkc:
      normalizer = icu::Normalizer2::getNFKCInstance(error);
      break;
    case NormalForm::kNfkd:
      normalizer = icu::Normalizer2::getNFKDInstance(error);
      break;
  }
  DECANT_CHECK_MSG(U_SUCCESS(error), "ICU has no normalisation data: %s", u_errorName(error));
  std::string out;
  icu::StringByteSink<std::string> sink(&out, static_cast<int32_t>(text.size()));
  normalizer->normalizeUTF8(0, icu::StringPiece(text.data(), static_cast<int32_t>(text.size())), sink, nullptr, error);
  DECANT_CHECK_MSG(U_SUCCESS(error), "ICU cannot normalise %zu bytes: %s", text.size(), u_errorName(error));
  return out;
}

}  // namespace decant
