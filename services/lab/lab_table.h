// The results of a lab run as rows, and the rows as CSV and Markdown.
#ifndef DECANT_SERVICES_LAB_LAB_TABLE_H_
#define DECANT_SERVICES_LAB_LAB_TABLE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/kv/geometry.h"
#include "services/lab/bootstrap.h"
#include "services/lab/lab_engine.h"
#include "services/lab/lab_plan.h"

namespace decant {

// One point on one task at one length in one mode.
struct LabRow {
  size_t point = 0;  // index into the points of the run
  std::string profile;
  double budget = 0;  // 0 = the profile's own setting
  std::string task;   // long output: "long 1-128" and so on
  bool is_long = false;
  int32_t length = 0;  // tokens; of a file's task the mean of its prompts
  LabMode mode = LabMode::kQueryAgnostic;
  int64_t samples = 0;
  PairedEstimate estimate;
  double perplexity = 0;
  double divergence = 0;  // nats per token
  double bytes_per_token = 0;
  double ratio = 0;
  // Of the prompt's tokens, over all layers and heads.
  double high_share = 0;
  double low_share = 0;
  double read_share = 0;  // bytes that a step's attention reads, over those of full
  double wire_share = 0;  // bytes of the prompt's frames as they travel, shared bases counted, over 2 per element
  int64_t online_events = 0;
};

// One point of a profile beside those of others that hold no more bytes, over all questions of a mode.
struct LabRival {
  LabRow ours;
  LabRow best;          // the most right answers; of equal ones the lowest divergence
  LabRow closest;       // the lowest divergence
  Estimate difference;  // accuracy of ours - that of `best` on the same questions
};

// Gathers units into rows: tasks in their order, then length, mode, span and point.
class LabTable {
 public:
  LabTable(const std::vector<LabPoint>& points, const std::vector<LabTask>& tasks, const Geometry& geometry);

  // Units of a cell in the order of their contexts: the pairing of questions lives from it.
  void Add(const LabUnit& unit, const std::vector<PointResult>& results);
  std::vector<LabRow> Rows() const;
  // One row per point and mode over all questions but the long output; task "all", length 0.
  std::vector<LabRow> Summary() const;
  // The same for every length, where there are several (task "all"), and for every task (its length, or 0 where there
  // are several).
  std::vector<LabRow> ByLength() const;
  std::vector<LabRow> ByTask() const;
  // Of every point and mode of the profile `ours`; others are those whose names do not begin with it, full left out.
  std::vector<LabRival> Rivals(absl::string_view ours) const;

 private:
  struct Tally {
    std::vector<double> credits;
    std::vector<int32_t> questions;  // of each context, in the order of credits
    double tokens = 0, surprise = 0, divergence = 0;
    int64_t prompt_tokens = 0, prompts = 0, resident_bytes = 0, resident_tokens = 0, frames = 0;
    int64_t high = 0, low = 0, pruned = 0, steps = 0, read = 0, events = 0;
  };
  struct Cell {
    size_t task = 0;
    size_t span = 0;
    int32_t length = 0;
    LabMode mode = LabMode::kQueryAgnostic;
    std::vector<Tally> tallies;  // by point
  };
  Cell& CellOf(const LabUnit& unit, size_t span);
  LabRow RowOf(const Cell& cell, size_t point) const;
  Cell Merged(LabMode mode, const std::function<bool(const Cell&)>& wanted) const;
  // Appends a row per point over the cells of the mode that `wanted` takes; none without questions.
  void AppendMerged(LabMode mode, const std::function<bool(const Cell&)>& wanted, const std::string& task,
                    int32_t length, std::vector<LabRow>& rows) const;

  const std::vector<LabPoint>& points_;
  const std::vector<LabTask>& tasks_;
  const Geometry geometry_;
  std::vector<Cell> cells_;
};

// With the header profile,budget,task,length,mode,samples,accuracy,ci_low,ci_high,perplexity,kl,bytes_per_token,ratio.
std::string ToCsv(const std::vector<LabRow>& rows);
// `title` and `notes` are paragraphs; `groups` are rows of one cell after the other, in the order they are to stand in;
// of `rows` the long output.
std::string ToMarkdown(const std::string& title, const std::vector<std::string>& notes,
                       const std::vector<LabRow>& groups, const std::vector<LabRow>& rows,
                       const std::vector<LabRival>& rivals = {});
// "snapkv" or "snapkv 0.2".
std::string PointLabel(const LabRow& row);

}  // namespace decant

#endif  // DECANT_SERVICES_LAB_LAB_TABLE_H_
