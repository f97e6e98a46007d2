#include "services/lab/choose_grid.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"
#include "services/lab/choose_tasks.h"
#include "services/lab/task.h"
#include "services/lab/text_task.h"

namespace decant {
namespace {

constexpr char kQuickBudgets[] = "0.2,0.35";
constexpr char kFullBudgets[] = "0.1,0.15,0.2,0.25,0.3,0.35";
constexpr int32_t kQuickSamples = 24;
constexpr int32_t kChatSamples = 20;
constexpr int32_t kTextPrompt = 256;
constexpr int32_t kLengths[] = {512, 1024, 2048};
// Questions of a task and mode: most where a context costs least, so that all lengths take about as long.
int32_t FullSamplesAt(int32_t length) { return length <= 512 ? 200 : length <= 1024 ? 60 : 40; }

// Lengths are those of the prompt at the beginning of a window.
absl::StatusOr<LabGrid> TextGrid(const LabOptions& options, int32_t max_positions, LabGrid grid) {
  if (grid.lengths.empty()) grid.lengths = {kTextPrompt};
  for (const int32_t length : grid.lengths) {
    if (length < kWindowTokens) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("a prompt of ", length, " tokens leaves nothing to score in a window of ", kWindowTokens));
  }
  if (max_positions < kWindowTokens) {
    return absl::InvalidArgumentError(
        absl::StrCat("the windows of a text have ", kWindowTokens, " tokens, the model ", max_positions, " positions"));
  }
  grid.samples = options.samples.empty() ? kTextWindows : options.samples[0];
  return grid;
}

void SetSamples(const LabOptions& options, bool chat, LabGrid& grid) {
  // Whoever brings questions wants them asked: only what the user says takes some away.
  grid.file_samples = !options.samples.empty() ? options.samples[0] : options.quick ? kQuickSamples : 0;
  if (options.samples.size() > 1) grid.samples_at = options.samples;
  if (!options.samples.empty() || options.quick || chat) {
    grid.samples = !options.samples.empty() ? options.samples[0] : options.quick ? kQuickSamples : kChatSamples;
    return;
  }
  grid.samples = FullSamplesAt(kLengths[0]);
  for (const int32_t length : grid.lengths) grid.samples_at.push_back(FullSamplesAt(length));
}

}  // namespace

absl::Status StandsTwice(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(what, " stands there twice; name each once, --samples asks more"));
}

absl::StatusOr<std::vector<LabMode>> ParseMode(absl::string_view mode) {
  if (mode == "query-agnostic") return std::vector<LabMode>{LabMode::kQueryAgnostic};
  if (mode == "query-aware") return std::vector<LabMode>{LabMode::kQueryAware};
  if (mode == "both") return std::vector<LabMode>{LabMode::kQueryAgnostic, LabMode::kQueryAware};
  return absl::InvalidArgumentError(
      absl::StrCat("mode '", mode, "' is unknown; there are query-aware, query-agnostic and both"));
}

absl::StatusOr<std::vector<int32_t>> ParseLengths(absl::string_view list) {
  std::vector<int32_t> lengths;
  if (list.empty()) return lengths;
  for (const absl::string_view word : absl::StrSplit(list, ',')) {
    int32_t length = 0;
    if (!absl::SimpleAtoi(word, &length) || length < kLeastLength) {
      return absl::InvalidArgumentError(
          absl::StrCat("length '", word, "' is no number of tokens of at least ", kLeastLength));
    }
    if (std::find(lengths.begin(), lengths.end(), length) != lengths.end()) {
      return StandsTwice(absl::StrCat("length ", length));
    }
    lengths.push_back(length);
  }
  return lengths;
}

std::string BudgetList(const LabOptions& options) {
  if (!options.budgets.empty()) return options.budgets;
  return options.quick ? kQuickBudgets : kFullBudgets;
}

absl::StatusOr<LabGrid> ChooseGrid(const LabOptions& options, int32_t max_positions, bool chat) {
  LabGrid grid;
  DECANT_ASSIGN_OR_RETURN(grid.modes, ParseMode(options.mode));
  DECANT_ASSIGN_OR_RETURN(grid.lengths, ParseLengths(options.lengths));
  if (IsText(options.tasks)) return TextGrid(options, max_positions, std::move(grid));
  constexpr int32_t kRoom = kLongTokens + kLongTokens / 2;  // questions and long output, estimates included
  for (const int32_t length : grid.lengths) {
    if (length + kRoom <= max_positions) continue;
    return absl::InvalidArgumentError(absl::StrCat("length ", length, " and ", kRoom,
                                                   " tokens of questions and output ", "exceed the model's ",
                                                   max_positions, " positions"));
  }
  if (grid.lengths.empty()) {
    for (const int32_t length : kLengths) {
      if (length + kRoom <= max_positions && (!options.quick || length == kLengths[0])) grid.lengths.push_back(length);
    }
    if (grid.lengths.empty()) grid.lengths = {std::max(kLeastLength, max_positions / 4)};
  }
  grid.seeds = std::max(1, options.seeds);
  SetSamples(options, chat, grid);
  grid.long_contexts = options.quick ? 1 : 4;
  return grid;
}

}  // namespace decant
