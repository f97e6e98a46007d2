#include "services/router/answer_text.h"

#include <algorithm>
#include <utility>

#include "absl/strings/string_view.h"
#include "common/base/status_macros.h"

namespace decant {
namespace {

// Bytes at the end of `text` that are a beginning of `stop`, fewer than all of it.
size_t BeginningAtEnd(absl::string_view text, absl::string_view stop) {
  size_t length = std::min(text.size(), stop.size() - 1);
  while (length > 0 && text.substr(text.size() - length) != stop.substr(0, length)) --length;
  return length;
}

}  // namespace

AnswerText::AnswerText(const Tokenizer& tokenizer, std::vector<std::string> stops)
    : streaming_(tokenizer), stops_(std::move(stops)) {}

absl::StatusOr<AnswerText::Added> AnswerText::Add(int32_t token) {
  DECANT_ASSIGN_OR_RETURN(const std::string text, streaming_.Add(token));
  return Take(text);
}

absl::StatusOr<std::string> AnswerText::Finish() {
  if (stopped_) return std::string();
  DECANT_ASSIGN_OR_RETURN(const std::string text, streaming_.Finish());
  std::string rest = Take(text).text;
  rest += std::exchange(held_, std::string());
  return rest;
}

AnswerText::Added AnswerText::Take(const std::string& text) {
  held_ += text;
  size_t stop_at = std::string::npos;
  size_t keep = 0;
  for (const std::string& stop : stops_) {
    stop_at = std::min(stop_at, held_.find(stop));
    keep = std::max(keep, BeginningAtEnd(held_, stop));
  }
  Added added;
  if (stop_at != std::string::npos) {
    stopped_ = true;
    added.stopped = true;
    added.text = held_.substr(0, stop_at);
    held_.clear();
    return added;
  }
  added.text = held_.substr(0, held_.size() - keep);
  held_.erase(0, added.text.size());
  return added;
}

}  // namespace decant
