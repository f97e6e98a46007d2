// Each token is decoded together with a window of tokens before it, because decoders look at their neighbours (a
// character spread over tokens, the space before a word). The window is shortened now and then, so that a long output
// costs linear time.
#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "common/base/status_macros.h"
#include "common/model/tokenizer.h"

namespace decant {
namespace {

constexpr size_t kWindow = 64;
constexpr size_t kKept = 8;  // more than the tokens one character can be spread over
constexpr absl::string_view kReplacement = "\xEF\xBF\xBD";

// Decode writes U+FFFD for an unfinished character, so one at the end may still change; nothing before it can.
size_t StableBytes(absl::string_view text) {
  return absl::EndsWith(text, kReplacement) ? text.size() - kReplacement.size() : text.size();
}

}  // namespace

absl::StatusOr<std::string> StreamingText::Add(int32_t id) {
  ids_.push_back(id);
  const absl::Span<const int32_t> window = absl::MakeConstSpan(ids_).subspan(stable_ids_);
  absl::StatusOr<std::string> decoded = tokenizer_.Decode(window, /*skip_special=*/true);
  if (!decoded.ok()) {
    ids_.pop_back();
    return decoded.status();
  }
  const std::string& text = *decoded;
  const size_t stable = std::max(StableBytes(text), std::min(given_bytes_, text.size()));
  std::string fresh = text.substr(std::min(given_bytes_, stable), stable - std::min(given_bytes_, stable));
  given_bytes_ = stable;
  const size_t held = text.size() - stable;

  // A shorter window must end in the same way: what it decodes to is taken as given, but for what is held back. Where
  // it does not, as with special tokens only, a longer one is tried, less and less often.
  for (size_t kept = kKept; window.size() >= kWindow && kept <= window.size() / 2; kept *= 2) {
    const size_t start = ids_.size() - kept;
    DECANT_ASSIGN_OR_RETURN(const std::string tail,
                            tokenizer_.Decode(absl::MakeConstSpan(ids_).subspan(start), /*skip_special=*/true));
    if (tail.empty() || tail.size() - StableBytes(tail) != held) continue;
    stable_ids_ = start;
    given_bytes_ = tail.size() - held;
    break;
  }
  return fresh;
}

absl::StatusOr<std::string> StreamingText::Finish() {
  const absl::Span<const int32_t> window = absl::MakeConstSpan(ids_).subspan(stable_ids_);
  DECANT_ASSIGN_OR_RETURN(const std::string text, tokenizer_.Decode(window, /*skip_special=*/true));
  std::string rest = text.substr(std::min(given_bytes_, text.size()));
  given_bytes_ = text.size();
  return rest;
}

}  // namespace decant
