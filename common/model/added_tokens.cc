#include "common/model/added_tokens.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/model/token_id.h"
#include "common/model/unicode.h"

namespace decant {
namespace {

// Where the last character of `text` begins. REQUIRES a text that is not empty.
size_t LastCharBegin(absl::string_view text) {
  size_t at = text.size() - 1;
  while (at > 0 && (static_cast<uint8_t>(text[at]) & 0xc0) == 0x80) --at;
  return at;
}

bool EndsWithWord(absl::string_view text) { return !text.empty() && IsWordChar(CharAt(text, LastCharBegin(text))); }

bool BeginsWithWord(absl::string_view text) { return !text.empty() && IsWordChar(CharAt(text, 0)); }

// `from` moves left over white space, not beyond `limit`.
size_t SkipSpacesLeft(absl::string_view text, size_t from, size_t limit) {
  while (from > limit) {
    const size_t begin = LastCharBegin(text.substr(0, from));
    if (begin < limit || !IsWhiteSpace(CharAt(text, begin))) break;
    from = begin;
  }
  return from;
}

size_t SkipSpacesRight(absl::string_view text, size_t from) {
  while (from < text.size() && IsWhiteSpace(CharAt(text, from))) from += CharBytes(text, from);
  return from;
}

}  // namespace

absl::StatusOr<std::vector<AddedToken>> ReadAddedTokens(const JsonFields& tokenizer) {
  std::vector<AddedToken> tokens;
  if (!tokenizer.Has("added_tokens")) return tokens;
  DECANT_ASSIGN_OR_RETURN(const nlohmann::json* list, tokenizer.Array("added_tokens"));
  for (const nlohmann::json& item : *list) {
    DECANT_ASSIGN_OR_RETURN(const JsonFields fields,
                            JsonFields::Of(item, absl::StrCat(tokenizer.where(), ": added_tokens")));
    AddedToken token;
    DECANT_ASSIGN_OR_RETURN(token.content, fields.String("content"));
    const auto id = item.find("id");
    DECANT_ASSIGN_OR_RETURN(token.id, ReadTokenId(id == item.end() ? nlohmann::json() : *id,
                                                  absl::StrCat(fields.where(), ": \"", token.content, "\"")));
    DECANT_ASSIGN_OR_RETURN(token.special, fields.BoolOr("special", false));
    DECANT_ASSIGN_OR_RETURN(token.normalized, fields.BoolOr("normalized", !token.special));
    DECANT_ASSIGN_OR_RETURN(token.strip_left, fields.BoolOr("lstrip", false));
    DECANT_ASSIGN_OR_RETURN(token.strip_right, fields.BoolOr("rstrip", false));
    DECANT_ASSIGN_OR_RETURN(token.single_word, fields.BoolOr("single_word", false));
    tokens.push_back(std::move(token));
  }
  return tokens;
}

void AddedTokenFinder::Add(const AddedToken& token, absl::string_view spelling) {
  if (spelling.empty()) return;
  begins_[static_cast<uint8_t>(spelling[0])] = true;
  int32_t node = 0;
  for (const char byte : spelling) {
    const uint64_t key = static_cast<uint64_t>(node) << 8 | static_cast<uint8_t>(byte);
    const auto [child, fresh] = child_nodes_.try_emplace(key, static_cast<int32_t>(token_of_node_.size()));
    if (fresh) token_of_node_.push_back(-1);
    node = child->second;
  }
  token_of_node_[static_cast<size_t>(node)] = static_cast<int32_t>(tokens_.size());
  tokens_.push_back(token);
}

AddedTokenFinder::Found AddedTokenFinder::LongestAt(absl::string_view text, size_t at) const {
  Found found;
  int32_t node = 0;
  for (size_t end = at; end < text.size(); ++end) {
    const auto child = child_nodes_.find(static_cast<uint64_t>(node) << 8 | static_cast<uint8_t>(text[end]));
    if (child == child_nodes_.end()) break;
    node = child->second;
    const int32_t token = token_of_node_[static_cast<size_t>(node)];
    if (token >= 0) found = {&tokens_[static_cast<size_t>(token)], end + 1};
  }
  return found;
}

std::vector<Fragment> AddedTokenFinder::Cut(absl::string_view text) const {
  std::vector<Fragment> fragments;
  size_t given = 0;  // what lies before is in `fragments`
  for (size_t at = 0; at < text.size();) {
    const Found found = begins_[static_cast<uint8_t>(text[at])] ? LongestAt(text, at) : Found{};
    if (found.token == nullptr) {
      ++at;
      continue;
    }
    size_t begin = at;
    size_t end = found.end;
    at = end;
    const AddedToken& token = *found.token;
    if (token.single_word && (EndsWithWord(text.substr(0, begin)) || BeginsWithWord(text.substr(end)))) continue;
    // The token before may have taken white space that this one begins with.
    begin = std::max(begin, given);
    if (token.strip_left) begin = SkipSpacesLeft(text, begin, given);
    if (token.strip_right) end = SkipSpacesRight(text, end);
    if (given < begin) fragments.push_back({text.substr(given, begin - given), -1});
    fragments.push_back({text.substr(begin, std::max(begin, end) - begin), token.id});
    given = std::max(given, end);
  }
  if (given < text.size()) fragments.push_back({text.substr(given), -1});
  return fragments;
}

}  // namespace decant
