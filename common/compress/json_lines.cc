#include "common/compress/json_lines.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace decant {
namespace {

using Json = nlohmann::json;

int32_t LineAt(absl::string_view text, size_t offset) {
  const absl::string_view before = text.substr(0, std::min(offset, text.size()));
  return 1 + static_cast<int32_t>(std::count(before.begin(), before.end(), '\n'));
}

// Nothing that is read here nests as deep; what goes on recursively over a text may rely on it.
constexpr int kDeepest = 32;

// Accepts everything that is not too deep and remembers where it stopped making sense.
class SyntaxCheck : public nlohmann::json_sax<Json> {
 public:
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool key(string_t&) override { return true; }
  bool start_object(std::size_t) override { return ++depth <= kDeepest; }
  bool start_array(std::size_t) override { return ++depth <= kDeepest; }
  bool end_object() override { return --depth >= 0; }
  bool end_array() override { return --depth >= 0; }
  bool parse_error(std::size_t position, const std::string& last_token, const nlohmann::detail::exception&) override {
    offset = position;
    token = last_token;
    return false;
  }

  size_t offset = 0;  // one behind the last character read
  std::string token;
  int depth = 0;
};

// The first place behind `at` that is not white space.
size_t SkipSpace(absl::string_view text, size_t at) {
  while (at < text.size() && (text[at] == ' ' || text[at] == '\n' || text[at] == '\r' || text[at] == '\t')) ++at;
  return at;
}

// `at` is an opening quote of valid JSON; returns the place behind the closing one.
size_t SkipString(absl::string_view text, size_t at) {
  for (++at; at < text.size() && text[at] != '"'; ++at) {
    if (text[at] == '\\') ++at;
  }
  return at + 1;
}

// Insertions, deletions and exchanges that turn one word into the other; swapped neighbours count once.
size_t EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<std::vector<size_t>> d(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) {
    for (size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        d[i][j] = i + j;
        continue;
      }
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  }
  return d[a.size()][b.size()];
}

}  // namespace

absl::StatusOr<std::map<std::string, int32_t>> JsonMemberLines(absl::string_view text, size_t depth) {
  SyntaxCheck check;
  if (!Json::sax_parse(text.begin(), text.end(), &check)) {
    if (check.depth > kDeepest) {
      return absl::InvalidArgumentError(absl::StrCat("not a JSON text of ours: it nests deeper than ", kDeepest));
    }
    const size_t at = check.offset == 0 ? 0 : check.offset - 1;
    return absl::InvalidArgumentError(
        at >= text.size() ? absl::StrCat("line ", LineAt(text, text.size()), ": not a JSON text: it ends too early")
                          : absl::StrCat("line ", LineAt(text, at), ": not a JSON text: '",
                                         absl::string_view(check.token).substr(0, 40), "' cannot stand here"));
  }
  size_t at = SkipSpace(text, 0);
  if (text[at] != '{') {
    return absl::InvalidArgumentError(absl::StrCat("line ", LineAt(text, at), ": not a JSON object; begin with {"));
  }
  std::map<std::string, int32_t> lines;
  struct Level {
    std::string name;   // of the member that the object is the value of
    bool filed = true;  // false in lists
  };
  std::vector<Level> open;
  std::string name;  // of the member whose value comes next
  for (; at < text.size(); ++at) {
    if (text[at] == '{' || text[at] == '[') {
      open.push_back(Level{name, text[at] == '{' && (open.empty() || open.back().filed)});
    }
    if (text[at] == '}' || text[at] == ']') open.pop_back();
    if (text[at] != '"') continue;
    const size_t end = SkipString(text, at);
    if (open.back().filed && open.size() <= depth && text.substr(SkipSpace(text, end), 1) == ":") {
      const std::string own = Json::parse(text.begin() + at, text.begin() + end).get<std::string>();
      name = open.size() == 1 ? own : absl::StrCat(open.back().name, "/", own);
      const auto [known, is_new] = lines.emplace(name, LineAt(text, at));
      if (!is_new) {
        return absl::InvalidArgumentError(absl::StrCat("line ", LineAt(text, at), ": field '", own, "' stands on line ",
                                                       known->second, " already; keep one"));
      }
    }
    at = end - 1;
  }
  return lines;
}

std::string DidYouMean(absl::string_view word, absl::string_view words) {
  constexpr size_t kLongestWord = 64;
  if (word.empty() || word.size() > kLongestWord) return "";
  std::string nearest;
  size_t least = std::max<size_t>(1, word.size() / 3) + 1;
  for (const absl::string_view candidate : absl::StrSplit(words, ", ", absl::SkipEmpty())) {
    const size_t distance = EditDistance(word, candidate);
    if (distance >= least) continue;
    least = distance;
    nearest = std::string(candidate);
  }
  return nearest.empty() ? "" : absl::StrCat("; did you mean '", nearest, "'?");
}

}  // namespace decant
