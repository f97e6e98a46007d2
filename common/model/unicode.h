// UTF-8 and the few Unicode properties that tokenizers ask for.
#ifndef DECANT_COMMON_MODEL_UNICODE_H_
#define DECANT_COMMON_MODEL_UNICODE_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace decant {

// Offset of the first byte that begins no valid character; text.size() when all is valid. Surrogates, overlong forms
// and values beyond U+10FFFF are invalid.
size_t ValidUtf8Prefix(absl::string_view text);

// Every invalid sequence becomes one U+FFFD, a sequence being as long as it could still have become valid (the
// "maximal subpart" practice of the Unicode standard, section 3.9).
std::string ReplaceInvalidUtf8(absl::string_view text);

// Bytes of the character that begins at text[at]. REQUIRES valid text.
size_t CharBytes(absl::string_view text, size_t at);
// The character itself. REQUIRES valid text.
char32_t CharAt(absl::string_view text, size_t at);
void AppendChar(char32_t c, std::string& out);

bool IsWhiteSpace(char32_t c);   // the property White_Space
bool IsNumber(char32_t c);       // categories Nd, Nl, No
bool IsPunctuation(char32_t c);  // categories P*, and every ASCII sign
bool IsWordChar(char32_t c);     // \w of UTS #18: Alphabetic, M, Nd, Pc, Join_Control

enum class NormalForm : uint8_t { kNfc, kNfd, kNfkc, kNfkd };
// REQUIRES valid text.
std::string Normalized(absl::string_view text, NormalForm form);

}  // namespace decant

#endif  // DECANT_COMMON_MODEL_UNICODE_H_
