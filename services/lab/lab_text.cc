// The rows of a lab run as CSV and Markdown.
#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "services/lab/lab_table.h"
#include "services/lab/task.h"

namespace decant {
namespace {

constexpr char kHead[] =
    "| profile | accuracy % | difference to full, points | claim | perplexity | KL, nats/token | bytes/token | % of "
    "full | high, low, pruned % | read a step, % of full | frames, % of full |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|\n";

constexpr char kReading[] =
    "Accuracy is of whole answers (of tokens for repeat, long and plain texts), difference that to full on the same "
    "questions; "
    "intervals are 95 %, paired bootstrap of 2,000 resamples of the contexts. A difference whose half-width is above "
    "1.5 points, or of fewer than 200 questions, reads *undecided*. Bytes are the pages that hold the prompt, page "
    "tails included, and of a plain text also what was fed behind it, at its end; full "
    "is 2 bytes per element. A number behind a profile is its budget: the share of full precision's bytes that its "
    "tokens take before pages are rounded up; for profiles with thresholds that is set by scaling both alphas until "
    "they take as much. High, low and pruned are what became of the prompt's tokens, over all layers and heads; "
    "read is what the attention of a step goes through, K, V, their scales and statistics; frames are what travels of "
    "the prompt, coded where the profile codes, shared bases counted. Every task at every length stands in table.csv.";

std::string Line(const LabRow& row) {
  const Estimate& accuracy = row.estimate.accuracy;
  const Estimate& difference = row.estimate.difference;
  std::string compared = "| |";
  if (row.point > 0) {
    compared = absl::StrFormat("%+.1f [%+.1f, %+.1f] | %s |", 100 * difference.mean, 100 * difference.low,
                               100 * difference.high, Verdict(difference, row.samples));
  }
  const double pruned = std::max(0.0, 1 - row.high_share - row.low_share);
  return absl::StrFormat("| %s | %.1f [%.1f, %.1f] | %s %.3f | %.4f | %.0f | %.1f | %.0f, %.0f, %.0f | %.0f | %.1f |\n",
                         PointLabel(row), 100 * accuracy.mean, 100 * accuracy.low, 100 * accuracy.high, compared,
                         row.perplexity, row.divergence, row.bytes_per_token, row.ratio > 0 ? 100 / row.ratio : 0,
                         100 * row.high_share, 100 * row.low_share, 100 * pruned, 100 * row.read_share,
                         100 * row.wire_share);
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

std::string RivalTables(const std::vector<LabRival>& rivals) {
  std::string text;
  for (size_t i = 0; i < rivals.size(); ++i) {
    const LabRival& rival = rivals[i];
    const LabRow& ours = rival.ours;
    if (i == 0 || rivals[i - 1].ours.mode != ours.mode) {
      absl::StrAppend(
          &text, "\n## ", ours.profile, " against the best other points at no more bytes, ", ModeName(ours.mode), ", ",
          ours.samples,
          " questions\n\n| ours | % of full | accuracy % | KL | most right answers | % of full | accuracy % "
          "| KL | ours less it, points | claim | lowest KL | KL |\n"
          "|---|---|---|---|---|---|---|---|---|---|---|---|\n");
    }
    const auto place = [](const LabRow& row) {
      return absl::StrFormat("%s | %.1f | %.1f | %.4f", PointLabel(row), row.ratio > 0 ? 100 / row.ratio : 0,
                             100 * row.estimate.accuracy.mean, row.divergence);
    };
    text +=
        absl::StrFormat("| %s | %s | %+.1f [%+.1f, %+.1f] | %s | %s | %.4f |\n", place(ours), place(rival.best),
                        100 * rival.difference.mean, 100 * rival.difference.low, 100 * rival.difference.high,
                        Verdict(rival.difference, ours.samples), PointLabel(rival.closest), rival.closest.divergence);
  }
  return text;
}

// Pass keys: one line per point and length, one column per depth.
std::string DepthTables(const std::vector<LabRow>& rows) {
  std::string text;
  for (const LabMode mode : {LabMode::kQueryAgnostic, LabMode::kQueryAware}) {
    std::vector<std::string> depths;
    std::map<std::pair<int32_t, size_t>, std::vector<const LabRow*>> lines;
    for (const LabRow& row : rows) {
      if (row.mode != mode || !absl::StartsWith(row.task, kPassKey)) continue;
      if (std::find(depths.begin(), depths.end(), row.task) == depths.end()) depths.push_back(row.task);
      lines[{row.length, row.point}].push_back(&row);
    }
    if (depths.empty()) continue;
    absl::StrAppend(&text, "\n## pass keys found in %, by the per cent of the text before them, ", ModeName(mode),
                    "\n\n| tokens | profile |");
    std::string rule = "|---|---|";
    for (const std::string& depth : depths) {
      absl::StrAppend(&text, " ", depth.substr(kPassKey.size()), " |");
      rule += "---|";
    }
    absl::StrAppend(&text, " % of full |\n", rule, "---|\n");
    for (const auto& [key, line] : lines) {
      absl::StrAppend(&text, "| ", key.first, " | ", PointLabel(*line[0]), " |");
      for (const LabRow* row : line) text += absl::StrFormat(" %.0f |", 100 * row->estimate.accuracy.mean);
      text += absl::StrFormat(" %.1f |\n", line[0]->ratio > 0 ? 100 / line[0]->ratio : 0);
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
                       const std::vector<LabRow>& groups, const std::vector<LabRow>& rows,
                       const std::vector<LabRival>& rivals) {
  std::string text = absl::StrCat("# ", title, "\n\n", kReading, "\n");
  for (const std::string& note : notes) absl::StrAppend(&text, "\n", note, "\n");
  text += RivalTables(rivals);
  for (size_t i = 0; i < groups.size(); ++i) {
    const LabRow& row = groups[i];
    if (i == 0 || !SameCell(row, groups[i - 1])) {
      absl::StrAppend(&text, "\n## ", row.task == "all" ? "all tasks" : row.task,
                      row.length > 0 ? absl::StrCat(", ", row.length, " tokens") : "", ", ", ModeName(row.mode), ", ",
                      row.samples, " questions\n\n", kHead);
    }
    text += Line(row);
  }
  return text + DepthTables(rows) + LongTables(rows);
}

}  // namespace decant
