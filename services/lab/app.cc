#include "services/lab/app.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "common/base/status_macros.h"
#include "services/lab/lab_plots.h"
#include "services/lab/lab_setup.h"
#include "services/lab/lab_table.h"
#include "services/lab/progress.h"
#include "services/lab/quality_table.h"

namespace decant {
namespace {

// The profile that is compared with the others point by point.
constexpr absl::string_view kOurs = "decant";

void Say(const std::string& line) { std::fprintf(stderr, "lab: %s\n", line.c_str()); }

absl::Status WriteFile(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  if (file.flush()) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("cannot write ", path));
}

// Points of the unit that the journal does not have, full precision first, since the others are compared with it; empty
// when it has all.
std::vector<size_t> MissingPoints(const LabSetup& setup, const LabUnit& unit, const Journal& journal) {
  std::vector<size_t> missing;
  for (size_t point = 0; point < setup.points.size(); ++point) {
    const PointResult* found = journal.Find(unit.Key(setup.tasks), PointKey(setup.points[point]));
    // The last context of another number of samples was asked other questions.
    if (found == nullptr || found->scores.size() != unit.questions) missing.push_back(point);
  }
  if (!missing.empty() && missing[0] != 0) missing.insert(missing.begin(), 0);
  return missing;
}

// In the order of the points. REQUIRES: the journal has them all.
std::vector<PointResult> ResultsOf(const LabSetup& setup, const LabUnit& unit, const Journal& journal) {
  std::vector<PointResult> results;
  for (const LabPoint& point : setup.points) results.push_back(*journal.Find(unit.Key(setup.tasks), PointKey(point)));
  return results;
}

// The first context of every cell, then the second ...: what a run that is cut short has is of the whole grid.
std::vector<size_t> InTurn(const std::vector<LabUnit>& units) {
  std::vector<size_t> order(units.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&units](size_t a, size_t b) { return units[a].context < units[b].context; });
  return order;
}

// Measures what the journal does not have.
absl::Status MeasureUnits(const LoadedModel& model, const LabSetup& setup, const std::vector<LabUnit>& units,
                          Journal& journal) {
  std::vector<bool> skipped;
  for (const LabUnit& unit : units) skipped.push_back(MissingPoints(setup, unit, journal).empty());
  Progress progress(setup.tasks, units, skipped);
  DECANT_ASSIGN_OR_RETURN(const auto engine, LabEngine::Create(model, setup.points));
  absl::Time said = absl::InfinitePast();
  for (const size_t i : InTurn(units)) {
    if (skipped[i]) continue;
    const absl::Time start = absl::Now();
    DECANT_ASSIGN_OR_RETURN(const auto jobs, UnitJobs(*model.folder.tokenizer, model.weights->config().max_positions,
                                                      setup.tasks[units[i].task], units[i]));
    const std::vector<size_t> missing = MissingPoints(setup, units[i], journal);
    DECANT_ASSIGN_OR_RETURN(std::vector<PointResult> results, engine->Measure(jobs, missing));
    std::vector<std::string> keys;
    for (const size_t point : missing) keys.push_back(PointKey(setup.points[point]));
    DECANT_RETURN_IF_ERROR(journal.Append(units[i].Key(setup.tasks), keys, std::move(results)));
    progress.Done(i, absl::ToDoubleSeconds(absl::Now() - start));
    if (absl::Now() - said < absl::Seconds(2)) continue;
    said = absl::Now();
    Say(progress.Line(i));
  }
  return absl::OkStatus();
}

// The command as far as it decides what was measured.
std::string CommandOf(const LabOptions& options) {
  std::string command = "decant lab";
  const std::pair<const char*, std::string> words[] = {{"profiles", options.profiles},
                                                       {"budgets", options.budgets},
                                                       {"tasks", options.tasks},
                                                       {"lengths", options.lengths}};
  for (const auto& [name, value] : words) {
    if (!value.empty()) absl::StrAppend(&command, " --", name, " ", value);
  }
  absl::StrAppend(&command, " --mode ", options.mode, options.quick ? " --quick" : "");
  if (options.seeds > 0) absl::StrAppend(&command, " --seeds ", options.seeds);
  if (!options.samples.empty()) absl::StrAppend(&command, " --samples ", absl::StrJoin(options.samples, ","));
  return command + ": quality is the share of full's right answers that remains, over all tasks";
}

// The table that Plan reads; none without questions, since nothing would stand behind its qualities.
absl::Status WriteQuality(const LabOptions& options, const LoadedModel& model, const LabSetup& setup,
                          const std::vector<LabUnit>& units, const Journal& journal,
                          const std::vector<LabRow>& summary) {
  const LabUnit* first = nullptr;
  std::vector<PointResult> totals(setup.points.size());
  for (const LabUnit& unit : units) {
    if (setup.tasks[unit.task].span_tokens > 0) continue;
    if (first == nullptr) first = &unit;
    const std::vector<PointResult> results = ResultsOf(setup, unit, journal);
    for (size_t point = 0; point < totals.size(); ++point) {
      totals[point].prompt_tokens += results[point].prompt_tokens;
      totals[point].resident_bytes += results[point].resident_bytes;
      totals[point].resident_tokens += results[point].resident_tokens;
      totals[point].frame_bytes += results[point].frame_bytes;
    }
  }
  if (first == nullptr) return absl::OkStatus();
  const ModelConfig& config = model.weights->config();
  std::vector<ProfileCost> costs = QualityOf(setup.points, summary, totals, config.geometry().full_bytes_per_token());
  Say("timing every profile alone");
  DECANT_ASSIGN_OR_RETURN(const auto jobs,
                          UnitJobs(*model.folder.tokenizer, config.max_positions, setup.tasks[first->task], *first));
  DECANT_RETURN_IF_ERROR(MeasureSpeed(model, setup.points, jobs[0].prompt, costs));
  QualitySource source;
  source.model = config.name;
  source.fingerprint = model.folder.fingerprint;
  source.command = CommandOf(options);
  source.machine = MachineName();
  source.commit = options.commit;
  source.date = absl::FormatTime("%Y-%m-%d", absl::Now(), absl::UTCTimeZone());
  return WriteFile(options.out + "/quality.json", QualityJson(source, costs));
}

// An online policy that moved no token in the whole long output did not run.
absl::Status CheckEvents(const LabSetup& setup, const std::vector<LabRow>& rows) {
  for (size_t point = 0; point < setup.points.size(); ++point) {
    if (setup.points[point].recipe.online == OnlinePolicy::kNone) continue;
    int64_t events = 0;
    bool fed = false;
    for (const LabRow& row : rows) {
      if (row.point != point || !row.is_long) continue;
      fed = true;
      events += row.online_events;
    }
    if (!fed || events > 0) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        "profile ", setup.points[point].profile, " has an online policy, but demoted and dropped no token in ",
        kLongTokens, " tokens of long output: its policy did not run; the tables are written all the same"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status RunLab(const LabOptions& options) {
  DECANT_RETURN_IF_ERROR(CheckOptions(options));
  DECANT_ASSIGN_OR_RETURN(const auto model, LoadedModel::Load(options.model, options.dtype, options.threads));
  const absl::Time start = absl::Now();
  DECANT_ASSIGN_OR_RETURN(const LabSetup setup, SetUp(options, *model));
  std::error_code error;
  std::filesystem::create_directories(options.out, error);
  if (error)
    return absl::InvalidArgumentError(absl::StrCat("cannot make the folder ", options.out, ": ", error.message()));
  DECANT_ASSIGN_OR_RETURN(Journal journal, Journal::Open(options.out + "/journal.jsonl", ParametersOf(setup, *model)));
  const std::vector<LabUnit> units = PlanUnits(setup.tasks, setup.grid);
  Say(absl::StrCat(setup.points.size(), " points, ", units.size(), " units, set up in ",
                   absl::FormatDuration(absl::Trunc(absl::Now() - start, absl::Milliseconds(1)))));
  for (const std::string& note : setup.notes) Say(note);
  DECANT_RETURN_IF_ERROR(MeasureUnits(*model, setup, units, journal));

  LabTable table(setup.points, setup.tasks, model->weights->config().geometry());
  for (const LabUnit& unit : units) table.Add(unit, ResultsOf(setup, unit, journal));
  const std::vector<LabRow> rows = table.Rows();
  const std::vector<LabRow> summary = table.Summary();
  const std::string title = absl::StrCat("decant lab on ", model->weights->config().name);
  DECANT_RETURN_IF_ERROR(WriteFile(options.out + "/table.csv", ToCsv(rows)));
  std::vector<LabRow> overall = summary;
  const std::vector<LabRow> lengths = table.ByLength(), by_task = table.ByTask();
  overall.insert(overall.end(), lengths.begin(), lengths.end());
  std::vector<LabRow> groups = overall;
  groups.insert(groups.end(), by_task.begin(), by_task.end());
  DECANT_RETURN_IF_ERROR(
      WriteFile(options.out + "/table.md", ToMarkdown(title, setup.notes, groups, rows, table.Rivals(kOurs))));
  for (const NamedPlot& plot : DrawLabPlots(model->weights->config().name, overall, rows)) {
    DECANT_RETURN_IF_ERROR(WriteFile(absl::StrCat(options.out, "/", plot.name, ".svg"), plot.svg));
  }
  DECANT_RETURN_IF_ERROR(WriteQuality(options, *model, setup, units, journal, summary));
  std::fputs(ToMarkdown(title, setup.notes, summary, {}).c_str(), stdout);
  Say(absl::StrCat("done in ", absl::FormatDuration(absl::Trunc(absl::Now() - start, absl::Seconds(1))), "; see ",
                   options.out, "/table.md"));
  return CheckEvents(setup, rows);
}

}  // namespace decant
