#include "common/model/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/model/pattern_syntax.h"
#include "common/model/unicode.h"

namespace decant {
namespace {

std::string ErrorText(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

struct FreeMatch {
  void operator()(pcre2_match_data* match) const { pcre2_match_data_free(match); }
};

}  // namespace

void Regex::Free::operator()(pcre2_real_code_8* code) const { pcre2_code_free(code); }

absl::StatusOr<Regex> Regex::Compile(absl::string_view pattern) {
  DECANT_ASSIGN_OR_RETURN(const std::string translated, PatternForPcre2(pattern));
  int error = 0;
  PCRE2_SIZE position = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                                   PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &position, nullptr);
  if (code == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("the pattern ", pattern, " is wrong near character ", position, ": ", ErrorText(error)));
  }
  // Where the processor has no just-in-time compiler the interpreter does the same, slower.
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
  return Regex(code);
}

absl::Status Regex::ForEachMatch(absl::string_view text, absl::FunctionRef<void(size_t, size_t)> match) const {
  const std::unique_ptr<pcre2_match_data, FreeMatch> found(pcre2_match_data_create(1, nullptr));
  const PCRE2_SPTR subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  size_t at = 0;
  while (at <= text.size() && !text.empty()) {
    int result = pcre2_match(code_.get(), subject, text.size(), at, PCRE2_NO_UTF_CHECK, found.get(), nullptr);
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) {
      // The interpreter's stack is on the heap.
      result =
          pcre2_match(code_.get(), subject, text.size(), at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, found.get(), nullptr);
    }
    if (result == PCRE2_ERROR_NOMATCH) break;
    if (result < 0) {
      return absl::ResourceExhaustedError(absl::StrCat("the tokenizer's pattern fails on a text of ", text.size(),
                                                       " bytes at byte ", at, ": ", ErrorText(result),
                                                       "; send a shorter text"));
    }
    const PCRE2_SIZE* const bounds = pcre2_get_ovector_pointer(found.get());
    // \K can put the start behind the end.
    const size_t begin = bounds[0] < bounds[1] ? bounds[0] : bounds[1];
    const size_t end = bounds[1];
    match(begin, end);
    at = end;
    if (begin == end) {
      if (end == text.size()) break;
      at += CharBytes(text, end);
    }
  }
  return absl::OkStatus();
}

}  // namespace decant
