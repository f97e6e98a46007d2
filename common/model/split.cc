#include "common/model/split.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/model/unicode.h"

namespace decant {
namespace {

// Collects matches in order and fills the gaps between them.
class SpanList {
 public:
  void Add(size_t begin, size_t end) {
    if (begin > next_) spans_.push_back({next_, begin, false});
    spans_.push_back({begin, end, true});
    next_ = end;
  }
  std::vector<Span> Finish(size_t text_bytes) && {
    if (next_ < text_bytes) spans_.push_back({next_, text_bytes, false});
    return std::move(spans_);
  }

 private:
  std::vector<Span> spans_;
  size_t next_ = 0;
};

void JoinContiguous(const std::vector<Span>& spans, std::vector<Span>& out) {
  for (const Span& span : spans) {
    if (!out.empty() && out.back().matched == span.matched) {
      out.back().end = span.end;
    } else {
      out.push_back(span);
    }
  }
}

// A match joins what lies before it, unless that is a match itself.
void JoinPrevious(const std::vector<Span>& spans, std::vector<Span>& out) {
  bool previous = false;
  for (const Span& span : spans) {
    if (span.matched && !previous && !out.empty()) {
      out.back().end = span.end;
    } else {
      out.push_back(span);
    }
    previous = span.matched;
  }
}

void JoinNext(const std::vector<Span>& spans, std::vector<Span>& out) {
  bool previous = false;
  for (auto span = spans.rbegin(); span != spans.rend(); ++span) {
    if (span->matched && !previous && !out.empty()) {
      out.back().begin = span->begin;
    } else {
      out.push_back(*span);
    }
    previous = span->matched;
  }
  std::reverse(out.begin(), out.end());
}

}  // namespace

absl::StatusOr<SplitBehavior> ParseSplitBehavior(const std::string& name, const std::string& where) {
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  return absl::UnimplementedError(absl::StrCat(where, ": split behavior \"", name, "\" is not known to decant"));
}

std::vector<Span> SpansOfString(absl::string_view text, absl::string_view pattern) {
  SpanList spans;
  if (!pattern.empty()) {
    for (size_t at = text.find(pattern); at != absl::string_view::npos; at = text.find(pattern, at + pattern.size())) {
      spans.Add(at, at + pattern.size());
    }
  }
  return std::move(spans).Finish(text.size());
}

std::vector<Span> SpansOfChars(absl::string_view text, absl::FunctionRef<bool(char32_t)> matches) {
  SpanList spans;
  for (size_t at = 0; at < text.size();) {
    const size_t bytes = CharBytes(text, at);
    if (matches(CharAt(text, at))) spans.Add(at, at + bytes);
    at += bytes;
  }
  return std::move(spans).Finish(text.size());
}

absl::StatusOr<std::vector<Span>> SpansOfRegex(absl::string_view text, const Regex& regex) {
  SpanList spans;
  DECANT_RETURN_IF_ERROR(regex.ForEachMatch(text, [&](size_t begin, size_t end) { spans.Add(begin, end); }));
  return std::move(spans).Finish(text.size());
}

std::vector<Span> Behave(const std::vector<Span>& spans, SplitBehavior behavior) {
  std::vector<Span> out;
  switch (behavior) {
    case SplitBehavior::kRemoved:
      std::copy_if(spans.begin(), spans.end(), std::back_inserter(out), [](const Span& s) { return !s.matched; });
      break;
    case SplitBehavior::kIsolated:
      out = spans;
      break;
    case SplitBehavior::kContiguous:
      JoinContiguous(spans, out);
      break;
    case SplitBehavior::kMergedWithPrevious:
      JoinPrevious(spans, out);
      break;
    case SplitBehavior::kMergedWithNext:
      JoinNext(spans, out);
      break;
  }
  out.erase(std::remove_if(out.begin(), out.end(), [](const Span& s) { return s.begin == s.end; }), out.end());
  return out;
}

absl::StatusOr<SplitPattern> SplitPattern::Read(const JsonFields& part) {
  SplitPattern pattern;
  DECANT_ASSIGN_OR_RETURN(const JsonFields fields, part.Object("pattern"));
  if (!fields.Has("Regex")) {
    DECANT_ASSIGN_OR_RETURN(pattern.string_, fields.String("String"));
    return pattern;
  }
  DECANT_ASSIGN_OR_RETURN(const std::string text, fields.String("Regex"));
  absl::StatusOr<Regex> regex = Regex::Compile(text);
  if (!regex.ok()) {
    return absl::Status(regex.status().code(), absl::StrCat(fields.where(), ": ", regex.status().message()));
  }
  pattern.regex_.push_back(*std::move(regex));
  return pattern;
}

absl::StatusOr<std::vector<Span>> SplitPattern::Spans(absl::string_view text) const {
  if (regex_.empty()) return SpansOfString(text, string_);
  return SpansOfRegex(text, regex_.front());
}

}  // namespace decant
