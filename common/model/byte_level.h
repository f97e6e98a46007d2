// GPT-2's way to write any byte as a printable character, so that a vocabulary of characters covers all bytes: bytes
// that print stand for themselves, the other 68 for U+0100 and up.
#ifndef DECANT_COMMON_MODEL_BYTE_LEVEL_H_
#define DECANT_COMMON_MODEL_BYTE_LEVEL_H_

#include <string>

#include "absl/strings/string_view.h"

namespace decant {

// One character per byte of `bytes`.
std::string BytesToChars(absl::string_view bytes);

// Appends the bytes that the characters of `token` stand for; a token with any other character stands for itself.
// REQUIRES valid UTF-8.
void AppendCharsAsBytes(absl::string_view token, std::string& bytes);

}  // namespace decant

#endif  // DECANT_COMMON_MODEL_BYTE_LEVEL_H_
