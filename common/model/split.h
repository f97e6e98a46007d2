// Cutting a text into pieces: where a pattern matches, and what becomes of the matches.
#ifndef DECANT_COMMON_MODEL_SPLIT_H_
#define DECANT_COMMON_MODEL_SPLIT_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/model/json_fields.h"
#include "common/model/regex.h"

namespace decant {

// Bytes [begin, end) of a text, which a pattern matched or left between two matches.
struct Span {
  size_t begin;
  size_t end;
  bool matched;
};

enum class SplitBehavior : uint8_t { kRemoved, kIsolated, kContiguous, kMergedWithPrevious, kMergedWithNext };

// "Removed", "Isolated", ... as tokenizer.json spells them. UNIMPLEMENTED for another word.
absl::StatusOr<SplitBehavior> ParseSplitBehavior(const std::string& name, const std::string& where);

// The text as alternating spans; they cover it without gap. REQUIRES valid UTF-8.
std::vector<Span> SpansOfString(absl::string_view text, absl::string_view pattern);
std::vector<Span> SpansOfChars(absl::string_view text, absl::FunctionRef<bool(char32_t)> matches);
absl::StatusOr<std::vector<Span>> SpansOfRegex(absl::string_view text, const Regex& regex);

// Joins or drops spans; `matched` means nothing in the result. No result is empty.
std::vector<Span> Behave(const std::vector<Span>& spans, SplitBehavior behavior);

// {"String": s} or {"Regex": r} of tokenizer.json.
class SplitPattern {
 public:
  static absl::StatusOr<SplitPattern> Read(const JsonFields& part);
  absl::StatusOr<std::vector<Span>> Spans(absl::string_view text) const;

 private:
  std::string string_;
  std::vector<Regex> regex_;  // none or one
};

}  // namespace decant

#endif  // DECANT_COMMON_MODEL_SPLIT_H_
