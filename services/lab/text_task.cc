#include "services/lab/text_task.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace decant {
namespace {

// Hardly any text has more characters to a token.
constexpr size_t kMostBytesPerToken = 12;

bool ContinuesCharacter(char byte) { return (static_cast<unsigned char>(byte) & 0xc0) == 0x80; }

}  // namespace

absl::StatusOr<LabTask> ReadTextTask(const std::string& path, const Tokenizer& tokenizer, int32_t windows) {
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  if (text.empty()) return absl::NotFoundError(absl::StrCat("cannot read the text ", path, ", or it is empty"));
  size_t begin = text.size() / 4;
  while (begin < text.size() && ContinuesCharacter(text[begin])) ++begin;
  const auto wanted = static_cast<size_t>(windows + 1) * kWindowTokens;
  size_t end = std::min(text.size(), begin + wanted * kMostBytesPerToken);
  while (end < text.size() && ContinuesCharacter(text[end])) ++end;
  DECANT_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, tokenizer.Encode(text.substr(begin, end - begin)));
  if (ids.size() < wanted) {
    return absl::InvalidArgumentError(absl::StrCat("the text ", path, " has ", ids.size(),
                                                   " tokens behind its first quarter; ", windows, " windows of ",
                                                   kWindowTokens, " and one to set thresholds on need ", wanted));
  }
  LabTask task;
  task.name = std::filesystem::path(path).stem().string();
  task.score = LabScore::kTokens;
  task.continues = true;
  for (size_t first = 0; first < wanted; first += kWindowTokens) {
    LabText window;
    const auto from = ids.begin() + static_cast<std::ptrdiff_t>(first);
    window.ids.assign(from, from + kWindowTokens);
    task.texts.push_back(std::move(window));
  }
  return task;
}

}  // namespace decant
