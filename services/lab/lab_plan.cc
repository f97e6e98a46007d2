#include "services/lab/lab_plan.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/digest.h"
#include "common/base/status_macros.h"

namespace decant {
namespace {

constexpr size_t kLongPromptLeast = 64;  // tokens of context before a long output

void PlanCell(const std::vector<LabTask>& tasks, LabUnit unit, size_t samples, std::vector<LabUnit>& units) {
  const LabTask& task = tasks[unit.task];
  for (size_t have = 0; have < samples; ++unit.context) {
    if (!task.texts.empty() && static_cast<size_t>(unit.context) == task.texts.size()) return;
    unit.questions = std::min(samples - have, std::max<size_t>(1, UnitText(task, unit).questions.size()));
    have += unit.questions;
    units.push_back(unit);
  }
}

class PieceTokenizer {
 public:
  static absl::StatusOr<PieceTokenizer> Create(const Tokenizer& tokenizer) {
    DECANT_ASSIGN_OR_RETURN(std::vector<int32_t> begin, tokenizer.Encode(""));
    return PieceTokenizer(tokenizer, std::move(begin));
  }
  absl::StatusOr<std::vector<int32_t>> First(absl::string_view text) const { return tokenizer_.Encode(text); }
  // Without what the tokenizer puts before every text.
  absl::StatusOr<std::vector<int32_t>> Next(absl::string_view text) const {
    DECANT_ASSIGN_OR_RETURN(std::vector<int32_t> ids, tokenizer_.Encode(text));
    if (ids.size() >= begin_.size() && std::equal(begin_.begin(), begin_.end(), ids.begin())) {
      ids.erase(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(begin_.size()));
    }
    return ids;
  }

 private:
  PieceTokenizer(const Tokenizer& tokenizer, std::vector<int32_t> begin)
      : tokenizer_(tokenizer), begin_(std::move(begin)) {}
  const Tokenizer& tokenizer_;
  std::vector<int32_t> begin_;
};

absl::Status CheckFits(const LabJob& job, int32_t max_positions) {
  for (const FedText& text : job.texts) {
    const size_t tokens = job.prompt.size() + text.feed.size();
    if (tokens <= static_cast<size_t>(max_positions)) continue;
    return absl::InvalidArgumentError(absl::StrCat(tokens, " tokens exceed the model's ", max_positions,
                                                   " positions; give shorter contexts or smaller lengths"));
  }
  return absl::OkStatus();
}

// The first tokens are the prompt, the rest is fed and scored. One token of overlap: the last of the prompt predicts
// the first that is scored, and every scored token must come from decode.
absl::StatusOr<std::vector<LabJob>> LongJob(const PieceTokenizer& tokenizer, const LabText& text, int32_t span) {
  DECANT_ASSIGN_OR_RETURN(std::vector<int32_t> ids, tokenizer.First(text.context));
  constexpr auto kLong = static_cast<size_t>(kLongTokens);
  if (ids.size() < kLongPromptLeast + kLong) {
    return absl::InvalidArgumentError(absl::StrCat("a text of ", ids.size(), " tokens is too short for ", kLong,
                                                   " tokens of long output after ", kLongPromptLeast));
  }
  LabJob job;
  job.span_tokens = span;
  FedText fed;
  fed.answer.assign(ids.end() - static_cast<std::ptrdiff_t>(kLong), ids.end());
  fed.feed.assign(ids.end() - static_cast<std::ptrdiff_t>(kLong) - 1, ids.end() - 1);
  job.prompt.assign(ids.begin(), ids.end() - static_cast<std::ptrdiff_t>(kLong) - 1);
  job.texts.push_back(std::move(fed));
  return std::vector<LabJob>{std::move(job)};
}

// As LongJob, but what is fed is the rest of the text.
absl::StatusOr<std::vector<LabJob>> ContinuedJob(const LabText& text, int32_t prompt_tokens) {
  const std::vector<int32_t>& ids = text.ids;
  if (ids.size() < static_cast<size_t>(prompt_tokens) + 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("a window of ", ids.size(), " tokens has nothing to score behind ", prompt_tokens));
  }
  LabJob job;
  FedText fed;
  const auto first = ids.begin() + prompt_tokens;
  job.prompt.assign(ids.begin(), first);
  fed.feed.assign(first, ids.end() - 1);
  fed.answer.assign(first + 1, ids.end());
  job.texts.push_back(std::move(fed));
  job.bytes_at_end = true;
  return std::vector<LabJob>{std::move(job)};
}

absl::StatusOr<std::vector<LabJob>> QuestionJobs(const PieceTokenizer& tokenizer, const LabText& text,
                                                 const LabUnit& unit) {
  LabJob context;
  DECANT_ASSIGN_OR_RETURN(context.prompt, tokenizer.First(text.context));
  std::vector<LabJob> jobs;
  for (size_t i = 0; i < unit.questions; ++i) {
    const LabQuestion& question = text.questions[i];
    DECANT_ASSIGN_OR_RETURN(std::vector<int32_t> ask, tokenizer.Next(question.ask));
    FedText fed;
    DECANT_ASSIGN_OR_RETURN(fed.answer, tokenizer.Next(question.answer));
    if (context.prompt.empty() || ask.empty() || fed.answer.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("question ", i + 1, ": context, question and answer have ",
                                                     context.prompt.size(), ", ", ask.size(), " and ",
                                                     fed.answer.size(), " tokens; each needs one"));
    }
    LabJob own = context;
    if (unit.mode == LabMode::kQueryAware) {
      own.prompt.insert(own.prompt.end(), ask.begin(), ask.end() - 1);
      ask.erase(ask.begin(), ask.end() - 1);
    }
    fed.feed = std::move(ask);
    fed.feed.insert(fed.feed.end(), fed.answer.begin(), fed.answer.end() - 1);
    if (unit.mode == LabMode::kQueryAware) {
      own.texts.push_back(std::move(fed));
      jobs.push_back(std::move(own));
    } else {
      context.texts.push_back(std::move(fed));
    }
  }
  if (unit.mode == LabMode::kQueryAgnostic) jobs.push_back(std::move(context));
  return jobs;
}

}  // namespace

std::string ModeName(LabMode mode) { return mode == LabMode::kQueryAgnostic ? "query-agnostic" : "query-aware"; }

std::string LabUnit::Key(const std::vector<LabTask>& tasks) const {
  return absl::StrCat(tasks[task].name, "/", length, "/", ModeName(mode), "/", seed, "/", context);
}

LabText UnitText(const LabTask& task, const LabUnit& unit) {
  if (!task.texts.empty()) return task.texts[static_cast<size_t>(unit.context)];
  // One context serves both modes.
  const std::string name = absl::StrCat("lab ", task.name, " ", unit.length, " ", unit.seed, " ", unit.context);
  return task.make(Sha256(name).Prefix64(), unit.length);
}

std::vector<LabUnit> PlanUnits(const std::vector<LabTask>& tasks, const LabGrid& grid) {
  std::vector<LabUnit> units;
  for (size_t task = 0; task < tasks.size(); ++task) {
    const bool from_file = !tasks[task].texts.empty();
    const bool is_long = tasks[task].span_tokens > 0;
    std::vector<int32_t> lengths = grid.lengths;
    const bool asks_of_file = from_file && !tasks[task].continues;
    if (asks_of_file) lengths = {0};
    for (size_t at = 0; at < lengths.size(); ++at) {
      int32_t samples = !from_file && at < grid.samples_at.size() ? grid.samples_at[at] : grid.samples;
      if (asks_of_file) samples = grid.file_samples > 0 ? grid.file_samples : std::numeric_limits<int32_t>::max();
      for (const LabMode mode : grid.modes) {
        // What goes on has no question that the compression could know.
        const bool goes_on = is_long || tasks[task].continues;
        if (goes_on && mode != grid.modes[0]) continue;
        for (int32_t seed = 0; seed < (from_file ? 1 : grid.seeds); ++seed) {
          LabUnit unit;
          unit.task = task;
          unit.length = lengths[at];
          unit.mode = goes_on ? LabMode::kQueryAgnostic : mode;
          unit.seed = static_cast<uint64_t>(seed);
          PlanCell(tasks, unit, static_cast<size_t>(is_long ? grid.long_contexts : samples), units);
        }
      }
    }
  }
  return units;
}

absl::StatusOr<std::vector<LabJob>> UnitJobs(const Tokenizer& tokenizer, int32_t max_positions, const LabTask& task,
                                             const LabUnit& unit) {
  const auto in_unit = [&](const absl::Status& status) {
    return absl::Status(status.code(),
                        absl::StrCat("task ", task.name, ", context ", unit.context + 1, ": ", status.message()));
  };
  absl::StatusOr<PieceTokenizer> pieces = PieceTokenizer::Create(tokenizer);
  if (!pieces.ok()) return in_unit(pieces.status());
  const LabText text = UnitText(task, unit);
  absl::StatusOr<std::vector<LabJob>> jobs = task.continues         ? ContinuedJob(text, unit.length)
                                             : task.span_tokens > 0 ? LongJob(*pieces, text, task.span_tokens)
                                                                    : QuestionJobs(*pieces, text, unit);
  if (!jobs.ok()) return in_unit(jobs.status());
  for (const LabJob& job : *jobs) {
    if (absl::Status fits = CheckFits(job, max_positions); !fits.ok()) return in_unit(fits);
  }
  return jobs;
}

}  // namespace decant
