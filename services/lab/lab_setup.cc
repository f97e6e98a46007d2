#include "services/lab/lab_setup.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"
#include "services/lab/byte_budget.h"
#include "services/lab/task_file.h"
#include "services/lab/text_task.h"
#include "services/lab/threshold_budget.h"

namespace decant {
namespace {

constexpr char kQuickBudgets[] = "0.2,0.35";
constexpr char kFullBudgets[] = "0.1,0.15,0.2,0.25,0.3,0.35";
constexpr int32_t kQuickSamples = 24;
constexpr int32_t kChatSamples = 20;
constexpr int32_t kSeedOfThresholds = 1 << 20;  // no run draws its texts from so high a seed
constexpr int32_t kLengths[] = {512, 1024, 2048};
// Questions of a task and mode: most where a context costs least, so that all lengths take about as long.
int32_t FullSamplesAt(int32_t length) { return length <= 512 ? 200 : length <= 1024 ? 60 : 40; }
constexpr int32_t kLeastLength = 64;

absl::StatusOr<std::vector<LabMode>> ParseMode(absl::string_view mode) {
  if (mode == "query-agnostic") return std::vector<LabMode>{LabMode::kQueryAgnostic};
  if (mode == "query-aware") return std::vector<LabMode>{LabMode::kQueryAware};
  if (mode == "both") return std::vector<LabMode>{LabMode::kQueryAgnostic, LabMode::kQueryAware};
  return absl::InvalidArgumentError(
      absl::StrCat("mode '", mode, "' is unknown; there are query-aware, query-agnostic and both"));
}

// The same contexts twice would be pooled as if they were others, and every interval would be too narrow.
absl::Status Twice(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(what, " stands there twice; name each once, --samples asks more"));
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
      return Twice(absl::StrCat("length ", length));
    }
    lengths.push_back(length);
  }
  return lengths;
}

constexpr absl::string_view kTextPrefix = "text:";
constexpr int32_t kTextWindows = 3;
constexpr int32_t kTextPrompt = 256;

bool IsText(const std::string& tasks) { return absl::StartsWith(tasks, kTextPrefix); }
bool IsTaskFile(const std::string& tasks) {
  return !IsText(tasks) && (absl::EndsWith(tasks, ".jsonl") || absl::StrContains(tasks, '/'));
}

// One token for the word that begins a message.
absl::StatusOr<bool> IsChatModel(const Tokenizer& tokenizer) {
  DECANT_ASSIGN_OR_RETURN(const std::vector<int32_t> none, tokenizer.Encode(""));
  DECANT_ASSIGN_OR_RETURN(const std::vector<int32_t> begin, tokenizer.Encode("<|im_start|>"));
  return begin.size() == none.size() + 1;
}

// The contexts of a file that are long enough to be cut into prompt and long output.
LabTask LongTaskOf(const LabTask& file, const Tokenizer& tokenizer) {
  LabTask task = TinyLongTask();
  task.make = nullptr;
  for (const LabText& text : file.texts) {
    const absl::StatusOr<std::vector<int32_t>> ids = tokenizer.Encode(text.context);
    if (ids.ok() && ids->size() >= static_cast<size_t>(kLongTokens) + kLeastLength) {
      task.texts.push_back({text.context, {}});
    }
  }
  return task;
}

absl::StatusOr<std::vector<LabTask>> FileTasks(const std::string& path, const Tokenizer& tokenizer,
                                               std::vector<std::string>& notes) {
  std::vector<LabTask> tasks;
  DECANT_ASSIGN_OR_RETURN(LabTask task, ReadTaskFile(path));
  LabTask long_task = LongTaskOf(task, tokenizer);
  if (task.name == long_task.name) long_task.name += "_output";  // results are known by the names of their tasks
  tasks.push_back(std::move(task));
  if (long_task.texts.empty()) {
    notes.push_back(absl::StrCat("No long output: no context has ", kLongTokens + kLeastLength, " tokens."));
  } else {
    tasks.push_back(std::move(long_task));
  }
  return tasks;
}

absl::StatusOr<std::vector<LabTask>> ChooseTasks(const LabOptions& options, const Tokenizer& tokenizer,
                                                 std::vector<std::string>& notes) {
  if (IsText(options.tasks)) {
    const int32_t windows = options.samples.empty() ? kTextWindows : options.samples[0];
    DECANT_ASSIGN_OR_RETURN(LabTask task, ReadTextTask(options.tasks.substr(kTextPrefix.size()), tokenizer, windows));
    return std::vector<LabTask>{std::move(task)};
  }
  if (IsTaskFile(options.tasks)) return FileTasks(options.tasks, tokenizer, notes);
  DECANT_ASSIGN_OR_RETURN(const bool chat, IsChatModel(tokenizer));
  std::vector<LabTask> known = chat ? ChatTasks() : TinyTasks();
  known.push_back(chat ? ChatLongTask() : TinyLongTask());
  std::vector<std::string> names;
  for (const LabTask& task : known) names.push_back(task.name);
  if (options.tasks.empty()) {
    // A quick look leaves out what decant-tiny is weak at.
    const auto weak = [&](const LabTask& task) { return task.name == "moves" || task.name == "documents"; };
    if (options.quick) known.erase(std::remove_if(known.begin(), known.end(), weak), known.end());
    return known;
  }
  std::vector<LabTask> tasks;
  for (const absl::string_view name : absl::StrSplit(options.tasks, ',')) {
    const size_t before = tasks.size();
    // "passkey" stands for all of its depths.
    const bool all_depths = absl::StrCat(name, "_") == kPassKey;
    for (const LabTask& task : known) {
      if (task.name != name && !(all_depths && absl::StartsWith(task.name, kPassKey))) continue;
      for (const LabTask& chosen : tasks) {
        if (chosen.name == task.name) return Twice(absl::StrCat("task ", task.name));
      }
      tasks.push_back(task);
    }
    if (tasks.size() == before) {
      return absl::NotFoundError(absl::StrCat("task '", name, "' is unknown; for this model there are ",
                                              absl::StrJoin(names, ", "), ", or give a file *.jsonl"));
    }
  }
  return tasks;
}

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

// What is not asked of a user's own file, and whose doing that is.
void NoteCuts(const LabOptions& options, LabSetup& setup) {
  for (const LabTask& task : setup.tasks) {
    if (task.texts.empty() || task.continues) continue;
    if (task.span_tokens > 0) {
      if (task.texts.size() > static_cast<size_t>(setup.grid.long_contexts)) {
        setup.notes.push_back(absl::StrCat("Long output: ", setup.grid.long_contexts, " of the ", task.texts.size(),
                                           " contexts that are long enough, in their order."));
      }
      continue;
    }
    size_t questions = 0;
    for (const LabText& text : task.texts) questions += text.questions.size();
    const auto asked = static_cast<size_t>(setup.grid.file_samples);
    if (asked > 0 && asked < questions) {
      const std::string why = options.samples.empty() ? "--quick" : absl::StrCat("--samples ", asked);
      setup.notes.push_back(absl::StrCat("Of the ", questions, " questions of ", task.name, " only the first ", asked,
                                         " are asked, because of ", why, "; without it all are."));
    }
    if (!options.lengths.empty()) {
      setup.notes.push_back(absl::StrCat("--lengths ", options.lengths, " is of no use to ", task.name,
                                         ": the contexts of a file are taken as they are."));
    }
  }
}

// Prompts that the run itself does not measure, one per task and length; of a file, whose every context may be
// measured, its first one.
absl::StatusOr<std::vector<std::vector<int32_t>>> ThresholdPrompts(const LabSetup& setup, const LoadedModel& model) {
  constexpr size_t kMost = 6;
  std::vector<std::vector<int32_t>> prompts;
  for (size_t task = 0; task < setup.tasks.size(); ++task) {
    if (setup.tasks[task].continues) {
      const std::vector<int32_t>& window = setup.tasks[task].texts.back().ids;
      for (const int32_t length : setup.grid.lengths) prompts.emplace_back(window.begin(), window.begin() + length);
      continue;
    }
    const bool from_file = !setup.tasks[task].texts.empty();
    for (const int32_t length : setup.grid.lengths) {
      if (prompts.size() == kMost || setup.tasks[task].span_tokens > 0) break;
      LabUnit unit;
      unit.task = task;
      unit.length = from_file ? 0 : length;
      unit.seed = kSeedOfThresholds;
      DECANT_ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                              model.folder.tokenizer->Encode(UnitText(setup.tasks[task], unit).context));
      prompts.push_back(ids);
      if (from_file) break;
    }
  }
  if (prompts.empty()) {
    DECANT_ASSIGN_OR_RETURN(const auto ids,
                            model.folder.tokenizer->Encode(UnitText(setup.tasks[0], LabUnit()).context));
    prompts.push_back(ids);
  }
  return prompts;
}

// Which prompts the thresholds were set on, said once for all profiles.
void NoteThresholds(LabSetup& setup) {
  const bool own_file = !setup.tasks[0].texts.empty() && !setup.tasks[0].continues;
  std::string note = own_file ? absl::StrCat("Thresholds are scaled to their budgets on the first context of ",
                                             setup.tasks[0].name, ", which is measured like the others.")
                              : "Thresholds are scaled to their budgets on prompts that are not measured.";
  if (std::find(setup.notes.begin(), setup.notes.end(), note) == setup.notes.end()) {
    setup.notes.push_back(std::move(note));
  }
}

// The profile at each of the budgets; none where it cannot be that small or large.
absl::StatusOr<std::vector<std::optional<Profile>>> Budgeted(const Profile& profile, const std::vector<double>& budgets,
                                                             const LoadedModel& model, const LabSetup& setup) {
  std::vector<std::optional<Profile>> sized(budgets.size());
  if (HasThresholds(profile)) {
    DECANT_ASSIGN_OR_RETURN(const auto prompts, ThresholdPrompts(setup, model));
    DECANT_ASSIGN_OR_RETURN(const auto factors, FactorsForBudgets(model, profile, prompts, budgets));
    for (size_t i = 0; i < budgets.size(); ++i) {
      if (factors[i].has_value()) sized[i] = WithScaledAlphas(profile, *factors[i]);
    }
    return sized;
  }
  for (size_t i = 0; i < budgets.size(); ++i) {
    DECANT_ASSIGN_OR_RETURN(
        sized[i], WithByteBudget(profile, model.weights->config().geometry(), model.weights->run_type(), budgets[i]));
  }
  return sized;
}

absl::Status AddBudgets(const Profile& profile, const std::vector<double>& budgets, const LoadedModel& model,
                        LabSetup& setup) {
  if (budgets.empty() || (!HasThresholds(profile) && !HasBudget(profile))) return absl::OkStatus();
  DECANT_ASSIGN_OR_RETURN(const auto sized, Budgeted(profile, budgets, model, setup));
  if (HasThresholds(profile)) NoteThresholds(setup);
  std::vector<double> missed;
  for (size_t i = 0; i < budgets.size(); ++i) {
    if (!sized[i].has_value()) {
      missed.push_back(budgets[i]);
      continue;
    }
    LabPoint point;
    point.profile = profile.name;
    point.budget = budgets[i];
    DECANT_ASSIGN_OR_RETURN(point.recipe,
                            Compile(*sized[i], model.weights->config().geometry(), model.weights->run_type()));
    setup.points.push_back(std::move(point));
  }
  if (!missed.empty()) {
    setup.notes.push_back(absl::StrCat("No setting of ", profile.name, " takes ", absl::StrJoin(missed, ", "),
                                       " of full precision's bytes; these points are left out."));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckOptions(const LabOptions& options) {
  DECANT_RETURN_IF_ERROR(ParseBudgets(options.budgets).status());
  DECANT_RETURN_IF_ERROR(ParseMode(options.mode).status());
  std::string profiles = options.profiles;
  DECANT_ASSIGN_OR_RETURN(const Catalogue catalogue, CatalogueWithFiles(profiles));
  DECANT_RETURN_IF_ERROR(ParseProfiles(profiles, catalogue).status());
  const bool no_samples =
      std::any_of(options.samples.begin(), options.samples.end(), [](int32_t samples) { return samples < 1; });
  if (options.seeds < 0 || no_samples) {
    return absl::InvalidArgumentError(absl::StrCat(options.seeds, " seeds and ", absl::StrJoin(options.samples, ","),
                                                   " samples; both must be at least 1"));
  }
  DECANT_ASSIGN_OR_RETURN(const std::vector<int32_t> lengths, ParseLengths(options.lengths));
  if (options.samples.size() > 1 && options.samples.size() != lengths.size()) {
    return absl::InvalidArgumentError(absl::StrCat(options.samples.size(), " numbers of samples for ", lengths.size(),
                                                   " lengths; give --lengths and one number for each, or one for all"));
  }
  if (options.out.empty()) return absl::InvalidArgumentError("--out must name a folder for the results");
  if (IsTaskFile(options.tasks)) DECANT_RETURN_IF_ERROR(ReadTaskFile(options.tasks).status());
  return absl::OkStatus();
}

absl::StatusOr<LabSetup> SetUp(const LabOptions& options, const LoadedModel& model) {
  LabSetup setup;
  const ModelConfig& config = model.weights->config();
  DECANT_ASSIGN_OR_RETURN(setup.tasks, ChooseTasks(options, *model.folder.tokenizer, setup.notes));
  DECANT_ASSIGN_OR_RETURN(const bool chat, IsChatModel(*model.folder.tokenizer));
  DECANT_ASSIGN_OR_RETURN(setup.grid, ChooseGrid(options, config.max_positions, chat));
  NoteCuts(options, setup);
  std::string list = options.budgets;
  if (list.empty()) list = options.quick ? kQuickBudgets : kFullBudgets;
  DECANT_ASSIGN_OR_RETURN(const std::vector<double> budgets, ParseBudgets(list));
  std::string profiles = options.profiles;
  DECANT_ASSIGN_OR_RETURN(const Catalogue catalogue, CatalogueWithFiles(profiles));
  DECANT_ASSIGN_OR_RETURN(const std::vector<std::string> names, ParseProfiles(profiles, catalogue));
  for (const std::string& name : names) {
    DECANT_ASSIGN_OR_RETURN(const Profile profile, catalogue.FindFor(name, model.folder.fingerprint));
    LabPoint point;
    point.profile = name;
    DECANT_ASSIGN_OR_RETURN(point.recipe, Compile(profile, config.geometry(), model.weights->run_type()));
    // Its decomposition of every prompt takes as long as all the other profiles together.
    if (options.quick && options.profiles.empty() && point.recipe.low_rank.group_layers > 0) {
      setup.notes.push_back(
          absl::StrCat("A quick look leaves out ", name, ", whose pages are those of full; name it to have it."));
      continue;
    }
    setup.points.push_back(std::move(point));
    DECANT_RETURN_IF_ERROR(AddBudgets(profile, budgets, model, setup));
  }
  return setup;
}

LabParameters ParametersOf(const LabSetup& setup, const LoadedModel& model) {
  LabParameters parameters;
  parameters["model"] = model.folder.fingerprint.Hex();
  parameters["run type"] = model.weights->run_type() == RunType::kF32 ? "f32" : "bf16";
  for (const LabTask& task : setup.tasks) {
    std::string texts;
    for (const LabText& text : task.texts) {
      absl::StrAppend(&texts, text.context, "\n");
      for (const LabQuestion& question : text.questions)
        absl::StrAppend(&texts, question.ask, "\n", question.answer, "\n");
    }
    // Any number of windows of a text is cut from the same tokens.
    if (!texts.empty() && !task.continues) parameters["texts of " + task.name] = Sha256(texts).Hex().substr(0, 12);
    if (task.continues) {
      parameters["texts of " + task.name] = Sha256(absl::StrJoin(task.texts[0].ids, " ")).Hex().substr(0, 12);
    }
  }
  return parameters;
}

}  // namespace decant
