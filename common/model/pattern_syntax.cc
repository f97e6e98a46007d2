// One pass from left to right that knows where in the output the last repeatable item began, because an interval with a
// quantifier behind it needs a group around both.
#include "common/model/pattern_syntax.h"

#include <cstddef>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace decant {
namespace {

constexpr absl::string_view kSpaces =
    "\\t-\\r \\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}";

class Translation {
 public:
  explicit Translation(absl::string_view pattern) : pattern_(pattern) {}

  absl::StatusOr<std::string> Run() && {
    while (at_ < pattern_.size()) {
      const char c = pattern_[at_];
      if (c == '\\') {
        item_ = out_.size();
        DECANT_RETURN_IF_ERROR(Escape(/*in_class=*/false));
      } else if (c == '[') {
        item_ = out_.size();
        DECANT_RETURN_IF_ERROR(Class());
      } else if (c == '(') {
        groups_.push_back(out_.size());
        Take(1);
      } else if (c == ')') {
        if (!groups_.empty()) {
          item_ = groups_.back();
          groups_.pop_back();
        }
        Take(1);
      } else if (c == '{' && IntervalBytes() > 0) {
        Interval(IntervalBytes());
      } else {
        // A quantifier is no item, and neither are the later bytes of a character.
        const bool begins_item = !absl::StrContains("*+?", absl::string_view(&c, 1)) && (c & '\xc0') != '\x80';
        if (begins_item) item_ = out_.size();
        Take(1);
      }
    }
    return std::move(out_);
  }

 private:
  void Take(size_t bytes) {
    out_.append(pattern_.data() + at_, bytes);
    at_ += bytes;
  }

  absl::Status Unknown(absl::string_view what) const {
    return absl::UnimplementedError(absl::StrCat("the pattern ", pattern_, " uses ", what, " at character ", at_,
                                                 ", which decant does not know; write it out as a plain class"));
  }

  absl::Status Escape(bool in_class) {
    const char escaped = at_ + 1 < pattern_.size() ? pattern_[at_ + 1] : '\0';
    if (escaped == 's' || (escaped == 'S' && !in_class)) {
      if (in_class) {
        out_.append(kSpaces.data(), kSpaces.size());
      } else {
        absl::StrAppend(&out_, escaped == 's' ? "[" : "[^", kSpaces, "]");
      }
      at_ += 2;
      return absl::OkStatus();
    }
    if (escaped == 'h' || escaped == 'H') return Unknown("\\h");
    size_t bytes = escaped == '\0' ? 1 : 2;
    // \p{L} and \x{85} are one item.
    if (at_ + 2 < pattern_.size() && pattern_[at_ + 2] == '{' &&
        absl::StrContains("pPx", absl::string_view(&escaped, 1))) {
      const size_t close = pattern_.find('}', at_);
      if (close != absl::string_view::npos) bytes = close + 1 - at_;
    }
    Take(bytes);
    return absl::OkStatus();
  }

  absl::Status Class() {
    Take(1);
    if (at_ < pattern_.size() && pattern_[at_] == '^') Take(1);
    if (at_ < pattern_.size() && pattern_[at_] == ']') Take(1);
    while (at_ < pattern_.size() && pattern_[at_] != ']') {
      const absl::string_view rest = pattern_.substr(at_);
      if (rest[0] == '\\') {
        DECANT_RETURN_IF_ERROR(Escape(/*in_class=*/true));
      } else if (absl::StartsWith(rest, "[:") && absl::StrContains(rest, ":]")) {
        Take(rest.find(":]") + 2);
      } else if (rest[0] == '[' || absl::StartsWith(rest, "&&")) {
        return Unknown("a set inside a class");
      } else {
        Take(1);
      }
    }
    if (at_ < pattern_.size()) Take(1);
    return absl::OkStatus();
  }

  // Length of "{n}", "{n,}", "{,m}" or "{n,m}" at the current place, 0 when there is none.
  size_t IntervalBytes() const {
    size_t end = at_ + 1;
    while (end < pattern_.size() &&
           (absl::ascii_isdigit(static_cast<unsigned char>(pattern_[end])) || pattern_[end] == ',')) {
      ++end;
    }
    return end < pattern_.size() && pattern_[end] == '}' && end > at_ + 1 ? end + 1 - at_ : 0;
  }

  void Interval(size_t bytes) {
    const absl::string_view interval = pattern_.substr(at_, bytes);
    const char next = at_ + bytes < pattern_.size() ? pattern_[at_ + bytes] : '\0';
    const bool exact = !absl::StrContains(interval, ",");
    const bool regroup = next == '+' || (next == '?' && exact);
    if (regroup) out_.insert(item_, "(?:");
    // PCRE2 10.42 takes "{,m}" for letters.
    if (absl::StartsWith(interval, "{,")) {
      absl::StrAppend(&out_, "{0", interval.substr(1));
      at_ += bytes;
    } else {
      Take(bytes);
    }
    if (regroup) out_.push_back(')');
  }

  absl::string_view pattern_;
  size_t at_ = 0;
  std::string out_;
  size_t item_ = 0;             // where in out_ the last repeatable item begins
  std::vector<size_t> groups_;  // where in out_ the open groups begin
};

}  // namespace

absl::StatusOr<std::string> PatternForPcre2(absl::string_view pattern) { return Translation(pattern).Run(); }

}  // namespace decant
