#ifndef DECANT_COMMON_MODEL_REGEX_H_
#define DECANT_COMMON_MODEL_REGEX_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

struct pcre2_real_code_8;

namespace decant {

// A compiled Unicode pattern (PCRE2); immutable and thread-safe, move-only.
class Regex {
 public:
  // `pattern` as tokenizer.json writes it (pattern_syntax.h). INVALID_ARGUMENT with the place of the mistake;
  // UNIMPLEMENTED for what cannot be said in PCRE2.
  static absl::StatusOr<Regex> Compile(absl::string_view pattern);

  // Calls `match(begin, end)` for every match, left to right, without overlap. RESOURCE_EXHAUSTED when the pattern
  // needs too many steps on this text. REQUIRES valid UTF-8.
  absl::Status ForEachMatch(absl::string_view text, absl::FunctionRef<void(size_t begin, size_t end)> match) const;

 private:
  struct Free {
    void operator()(pcre2_real_code_8* code) const;
  };
  explicit Regex(pcre2_real_code_8* code) : code_(code) {}

  std::unique_ptr<pcre2_real_code_8, Free> code_;
};

}  // namespace decant

#endif  // DECANT_COMMON_MODEL_REGEX_H_
