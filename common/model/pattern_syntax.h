#ifndef DECANT_COMMON_MODEL_PATTERN_SYNTAX_H_
#define DECANT_COMMON_MODEL_PATTERN_SYNTAX_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace decant {

// Rewrites a pattern of tokenizer.json, which is in Oniguruma's Ruby syntax, for PCRE2, where the two differ:
// `\s` and `\S` are the property White_Space (PCRE2's own hold U+180E, which lost the property in Unicode 6.3);
// `x{n,m}+` repeats the interval and is not possessive; `x{n}?` makes it optional and not reluctant.
// UNIMPLEMENTED for what it cannot rewrite: `\h` (a hexadecimal digit there) and sets inside a class.
absl::StatusOr<std::string> PatternForPcre2(absl::string_view pattern);

}  // namespace decant

#endif  // DECANT_COMMON_MODEL_PATTERN_SYNTAX_H_
