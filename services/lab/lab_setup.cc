#include "services/lab/lab_setup.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "services/lab/byte_budget.h"
#include "services/lab/choose_grid.h"
#include "services/lab/choose_tasks.h"
#include "services/lab/task_file.h"
#include "services/lab/threshold_budget.h"

namespace decant {
namespace {

constexpr int32_t kSeedOfThresholds = 1 << 20;  // no run draws its texts from so high a seed

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
  DECANT_ASSIGN_OR_RETURN(const std::vector<double> budgets, ParseBudgets(BudgetList(options)));
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
