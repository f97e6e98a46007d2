#include "services/lab/app.h"

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/status_macros.h"
#include "services/lab/lab_setup.h"
#include "services/lab/lab_table.h"
#include "services/lab/progress.h"

namespace decant {
namespace {

void Say(const std::string& line) { std::fprintf(stderr, "lab: %s\n", line.c_str()); }

absl::Status WriteFile(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  if (file.flush()) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("cannot write ", path));
}

// Measures what the journal does not have.
absl::Status MeasureUnits(const LoadedModel& model, const LabSetup& setup, const std::vector<LabUnit>& units,
                          Journal& journal) {
  std::vector<bool> skipped;
  for (const LabUnit& unit : units) skipped.push_back(journal.Find(unit.Key(setup.tasks)) != nullptr);
  Progress progress(setup.tasks, units, skipped);
  DECANT_ASSIGN_OR_RETURN(const auto engine, LabEngine::Create(model, setup.points));
  absl::Time said = absl::InfinitePast();
  for (size_t i = 0; i < units.size(); ++i) {
    if (skipped[i]) continue;
    const absl::Time start = absl::Now();
    DECANT_ASSIGN_OR_RETURN(const auto jobs, UnitJobs(*model.folder.tokenizer, model.weights->config().max_positions,
                                                      setup.tasks[units[i].task], units[i]));
    DECANT_ASSIGN_OR_RETURN(std::vector<PointResult> results, engine->Measure(jobs));
    DECANT_RETURN_IF_ERROR(journal.Append(units[i].Key(setup.tasks), std::move(results)));
    progress.Done(i, absl::ToDoubleSeconds(absl::Now() - start));
    if (absl::Now() - said < absl::Seconds(2)) continue;
    said = absl::Now();
    Say(progress.Line(i));
  }
  return absl::OkStatus();
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
  for (const LabUnit& unit : units) table.Add(unit, *journal.Find(unit.Key(setup.tasks)));
  const std::vector<LabRow> rows = table.Rows();
  const std::vector<LabRow> summary = table.Summary();
  const std::string title = absl::StrCat("decant lab on ", model->weights->config().name);
  DECANT_RETURN_IF_ERROR(WriteFile(options.out + "/table.csv", ToCsv(rows)));
  DECANT_RETURN_IF_ERROR(WriteFile(options.out + "/table.md", ToMarkdown(title, setup.notes, summary, rows)));
  std::fputs(ToMarkdown(title, setup.notes, summary, {}).c_str(), stdout);
  Say(absl::StrCat("done in ", absl::FormatDuration(absl::Trunc(absl::Now() - start, absl::Seconds(1))), "; see ",
                   options.out, "/table.md"));
  return CheckEvents(setup, rows);
}

}  // namespace decant
