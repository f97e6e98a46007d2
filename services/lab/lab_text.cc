// The rows of a lab run as CSV and Markdown.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "services/lab/lab_table.h"

namespace decant {
namespace {

constexpr char kHead[] =
    "| profile | accuracy % | difference to full, points | reads | perplexity | KL, nats/token | bytes/token | % of "
    "full |\n|---|---|---|---|---|---|---|---|\n";

constexpr char kReading[] =
    "Accuracy is of whole answers (of tokens for repeat and long), difference that to full on the same questions; "
    "intervals are 95 %, paired bootstrap of 2,000 resamples of the contexts. A difference whose half-width is above "
    "1.5 points, or of "
    "fewer than 200 questions, reads *undecided*. Bytes are the pages that hold the prompt, page tails included; full "
    "is 2 bytes per element. A number behind a profile is its budget: the share of full precision's bytes that its "
    "tokens take before pages are rounded up; for profiles with thresholds that is set by scaling both alphas on "
    "prompts "
    "outside the run.";

std::string Line(const LabRow& row) {
  const Estimate& accuracy = row.estimate.accuracy;
  const Estimate& difference = row.estimate.difference;
  std::string compared = "| |";
  if (row.point > 0) {
    compared = absl::StrFormat("%+.1f [%+.1f, %+.1f] | %s |", 100 * difference.mean, 100 * difference.low,
                               100 * difference.high, Verdict(difference, row.samples));
  }
  return absl::StrFormat("| %s | %.1f [%.1f, %.1f] | %s %.3f | %.4f | %.0f | %.1f |\n", PointLabel(row),
                         100 * accuracy.mean, 100 * accuracy.low, 100 * accuracy.high, compared, row.perplexity,
                         row.divergence, row.bytes_per_token, row.ratio > 0 ? 100 / row.ratio : 0);
}

bool SameCell(const LabRow& a, const LabRow& b) { return a.task == b.task && a.length == b.length && a.mode == b.mode; }

// Long output: one line per point, one column per span.
std::string LongTables(const std::vector<LabRow>& rows) {
  std::string text;
  for (size_t first = 0; first < rows.size(); ++first) {
    const LabRow& row = rows[first];
    if (!row.is_long || row.point != 0 || row.task.find(" 1-") == std::string::npos) continue;
    std::vector<const LabRow*> cell;
    for (const LabRow& other : rows) {
      if (other.is_long && other.length == row.length) cell.push_back(&other);
    }
    absl::StrAppend(&text, "\n## long output after ", row.length, " tokens\n\nKL to full in nats per token, and token ",
                    "accuracy in %, by output tokens; events are tokens that the online policy demoted or dropped.\n\n",
                    "| profile |");
    std::string rule = "|---|";
    for (const LabRow* span : cell) {
      if (span->point != 0) continue;
      absl::StrAppend(&text, " ", span->task.substr(span->task.find(' ') + 1), " |");
      rule += "---|";
    }
    absl::StrAppend(&text, " events | % of full |\n", rule, "---|---|\n");
    for (const LabRow* line : cell) {
      if (line->task != row.task) continue;
      absl::StrAppend(&text, "| ", PointLabel(*line), " |");
      for (const LabRow* span : cell) {
        if (span->point != line->point) continue;
        text += absl::StrFormat(" %.4f (%.1f) |", span->divergence, 100 * span->estimate.accuracy.mean);
      }
      text += absl::StrFormat(" %d | %.1f |\n", line->online_events, line->ratio > 0 ? 100 / line->ratio : 0);
    }
  }
  return text;
}

}  // namespace

std::string ToCsv(const std::vector<LabRow>& rows) {
  std::string csv =
      "profile,budget,task,length,mode,samples,accuracy,ci_low,ci_high,perplexity,kl,bytes_per_token,ratio\n";
  for (const LabRow& row : rows) {
    const Estimate& accuracy = row.estimate.accuracy;
    csv += absl::StrFormat("%s,%s,%s,%d,%s,%d,%.6g,%.6g,%.6g,%.6g,%.6g,%.6g,%.6g\n", row.profile,
                           row.budget > 0 ? absl::StrFormat("%g", row.budget) : "", row.task, row.length,
                           ModeName(row.mode), row.samples, accuracy.mean, accuracy.low, accuracy.high, row.perplexity,
                           row.divergence, row.bytes_per_token, row.ratio);
  }
  return csv;
}

std::string ToMarkdown(const std::string& title, const std::vector<std::string>& notes,
                       const std::vector<LabRow>& summary, const std::vector<LabRow>& rows) {
  std::string text = absl::StrCat("# ", title, "\n\n", kReading, "\n");
  for (const std::string& note : notes) absl::StrAppend(&text, "\n", note, "\n");
  for (size_t i = 0; i < summary.size(); ++i) {
    if (i == 0 || !SameCell(summary[i], summary[i - 1])) {
      absl::StrAppend(&text, "\n## all tasks, ", ModeName(summary[i].mode), ", ", summary[i].samples, " questions\n\n",
                      kHead);
    }
    text += Line(summary[i]);
  }
  text += LongTables(rows);
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].is_long) continue;
    if (i == 0 || !SameCell(rows[i], rows[i - 1])) {
      absl::StrAppend(&text, "\n## ", rows[i].task, ", ", rows[i].length, " tokens, ", ModeName(rows[i].mode), ", ",
                      rows[i].samples, " questions\n\n", kHead);
    }
    text += Line(rows[i]);
  }
  return text;
}

}  // namespace decant
