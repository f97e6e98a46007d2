#include "services/lab/lab_table.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace decant {
namespace {

double Credit(const AnswerScore& score, LabScore rule) {
  if (rule == LabScore::kWhole) return score.right == score.tokens ? 1 : 0;
  return static_cast<double>(score.right) / std::max(1, score.tokens);
}

}  // namespace

LabTable::LabTable(const std::vector<LabPoint>& points, const std::vector<LabTask>& tasks, const Geometry& geometry)
    : points_(points), tasks_(tasks), geometry_(geometry) {}

LabTable::Cell& LabTable::CellOf(const LabUnit& unit, size_t span) {
  for (Cell& cell : cells_) {
    if (cell.task == unit.task && cell.length == unit.length && cell.mode == unit.mode && cell.span == span)
      return cell;
  }
  Cell cell;
  cell.task = unit.task;
  cell.span = span;
  cell.length = unit.length;
  cell.mode = unit.mode;
  cell.tallies.resize(points_.size());
  cells_.push_back(std::move(cell));
  return cells_.back();
}

void LabTable::Add(const LabUnit& unit, const std::vector<PointResult>& results) {
  const LabTask& task = tasks_[unit.task];
  size_t spans = 0;
  for (const auto& text : results[0].scores) spans = std::max(spans, text.size());
  for (size_t span = 0; span < spans; ++span) {
    Cell& cell = CellOf(unit, span);
    for (size_t point = 0; point < points_.size(); ++point) {
      const PointResult& result = results[point];
      Tally& tally = cell.tallies[point];
      for (const auto& text : result.scores) {
        const AnswerScore& score = text[span];
        tally.credits.push_back(Credit(score, task.score));
        tally.tokens += score.tokens;
        tally.surprise += score.surprise;
        tally.divergence += score.divergence;
      }
      tally.questions.push_back(static_cast<int32_t>(result.scores.size()));
      tally.prompts += unit.mode == LabMode::kQueryAware ? static_cast<int64_t>(result.scores.size()) : 1;
      tally.prompt_tokens += result.prompt_tokens;
      tally.resident_bytes += result.resident_bytes;
      tally.resident_tokens += result.resident_tokens;
      tally.frames += result.frame_bytes;
      tally.events += result.online_events;
      tally.high += result.high_tokens;
      tally.low += result.low_tokens;
      tally.pruned += result.pruned_tokens;
      tally.steps += result.steps;
      tally.read += result.bytes_read;
    }
  }
}

LabRow LabTable::RowOf(const Cell& cell, size_t point) const {
  const Tally& tally = cell.tallies[point];
  LabRow row;
  row.point = point;
  row.profile = points_[point].profile;
  row.budget = points_[point].budget;
  row.length = cell.length;
  row.mode = cell.mode;
  row.samples = static_cast<int64_t>(tally.credits.size());
  // The same resamples for every point of a cell.
  row.estimate = PairedBootstrap(tally.credits, cell.tallies[0].credits, tally.questions, /*seed=*/20260);
  row.perplexity = std::exp(tally.surprise / std::max(1.0, tally.tokens));
  row.divergence = tally.divergence / std::max(1.0, tally.tokens);
  row.bytes_per_token =
      static_cast<double>(tally.resident_bytes) / static_cast<double>(std::max<int64_t>(1, tally.resident_tokens));
  row.ratio = row.bytes_per_token > 0 ? static_cast<double>(geometry_.full_bytes_per_token()) / row.bytes_per_token : 0;
  const int64_t full_bytes = std::max<int64_t>(1, tally.prompt_tokens * geometry_.full_bytes_per_token());
  row.wire_share = static_cast<double>(tally.frames) / static_cast<double>(full_bytes);
  row.online_events = tally.events;
  const auto tokens = static_cast<double>(std::max<int64_t>(1, tally.high + tally.low + tally.pruned));
  row.high_share = static_cast<double>(tally.high) / tokens;
  row.low_share = static_cast<double>(tally.low) / tokens;
  const Tally& full = cell.tallies[0];
  const double full_read = static_cast<double>(full.read) / static_cast<double>(std::max<int64_t>(1, full.steps));
  if (full_read > 0 && tally.steps > 0) {
    row.read_share = static_cast<double>(tally.read) / static_cast<double>(tally.steps) / full_read;
  }
  if (row.length == 0 && tally.prompts > 0) row.length = static_cast<int32_t>(tally.prompt_tokens / tally.prompts);
  return row;
}

std::vector<LabRow> LabTable::Rows() const {
  std::vector<LabRow> rows;
  for (const Cell& cell : cells_) {
    const LabTask& task = tasks_[cell.task];
    for (size_t point = 0; point < points_.size(); ++point) {
      LabRow row = RowOf(cell, point);
      row.is_long = task.span_tokens > 0;
      row.task = task.name;
      if (row.is_long) {
        const auto first = static_cast<int32_t>(cell.span) * task.span_tokens;
        absl::StrAppend(&row.task, " ", first + 1, "-", first + task.span_tokens);
      }
      rows.push_back(std::move(row));
    }
  }
  return rows;
}

LabTable::Cell LabTable::Merged(LabMode mode, const std::function<bool(const Cell&)>& wanted) const {
  Cell all;
  all.mode = mode;
  all.tallies.resize(points_.size());
  for (const Cell& cell : cells_) {
    if (cell.mode != mode || tasks_[cell.task].span_tokens > 0 || !wanted(cell)) continue;
    for (size_t point = 0; point < points_.size(); ++point) {
      const Tally& from = cell.tallies[point];
      Tally& to = all.tallies[point];
      to.credits.insert(to.credits.end(), from.credits.begin(), from.credits.end());
      to.questions.insert(to.questions.end(), from.questions.begin(), from.questions.end());
      to.tokens += from.tokens;
      to.surprise += from.surprise;
      to.divergence += from.divergence;
      to.prompt_tokens += from.prompt_tokens;
      to.resident_bytes += from.resident_bytes;
      to.resident_tokens += from.resident_tokens;
      to.frames += from.frames;
      to.events += from.events;
      to.high += from.high;
      to.low += from.low;
      to.pruned += from.pruned;
      to.steps += from.steps;
      to.read += from.read;
    }
  }
  return all;
}

void LabTable::AppendMerged(LabMode mode, const std::function<bool(const Cell&)>& wanted, const std::string& task,
                            int32_t length, std::vector<LabRow>& rows) const {
  Cell all = Merged(mode, wanted);
  all.length = length;
  if (all.tallies[0].credits.empty()) return;
  for (size_t point = 0; point < points_.size(); ++point) {
    rows.push_back(RowOf(all, point));
    rows.back().task = task;
  }
}

namespace {
constexpr LabMode kModes[] = {LabMode::kQueryAgnostic, LabMode::kQueryAware};
}  // namespace

std::vector<LabRow> LabTable::Summary() const {
  std::vector<LabRow> rows;
  for (const LabMode mode : kModes) {
    AppendMerged(
        mode, [](const Cell&) { return true; }, "all", 0, rows);
  }
  return rows;
}

std::vector<LabRow> LabTable::ByLength() const {
  std::set<int32_t> lengths;
  for (const Cell& cell : cells_) {
    if (tasks_[cell.task].span_tokens == 0) lengths.insert(cell.length);
  }
  std::vector<LabRow> rows;
  if (lengths.size() < 2) return rows;
  for (const LabMode mode : kModes) {
    for (const int32_t length : lengths) {
      AppendMerged(
          mode, [length](const Cell& cell) { return cell.length == length; }, "all", length, rows);
    }
  }
  return rows;
}

std::vector<LabRow> LabTable::ByTask() const {
  std::vector<LabRow> rows;
  for (const LabMode mode : kModes) {
    for (size_t task = 0; task < tasks_.size(); ++task) {
      std::set<int32_t> lengths;
      for (const Cell& cell : cells_) {
        if (cell.task == task) lengths.insert(cell.length);
      }
      AppendMerged(
          mode, [task](const Cell& cell) { return cell.task == task; }, tasks_[task].name,
          lengths.size() == 1 ? *lengths.begin() : 0, rows);
    }
  }
  return rows;
}

std::vector<LabRival> LabTable::Rivals(absl::string_view ours) const {
  std::vector<LabRival> rivals;
  for (const LabMode mode : kModes) {
    const Cell all = Merged(mode, [](const Cell&) { return true; });
    if (all.tallies[0].credits.empty()) continue;
    std::vector<LabRow> rows;
    for (size_t point = 0; point < points_.size(); ++point) rows.push_back(RowOf(all, point));
    for (const LabRow& own : rows) {
      if (own.profile != ours) continue;
      const LabRow* best = nullptr;
      const LabRow* closest = nullptr;
      for (const LabRow& other : rows) {
        const bool rival = other.point != 0 && !absl::StartsWith(other.profile, ours);
        if (!rival || other.bytes_per_token > own.bytes_per_token) continue;
        const double more = best == nullptr ? 1 : other.estimate.accuracy.mean - best->estimate.accuracy.mean;
        if (more > 0 || (more == 0 && other.divergence < best->divergence)) best = &other;
        if (closest == nullptr || other.divergence < closest->divergence) closest = &other;
      }
      if (best == nullptr) continue;
      const Tally& mine = all.tallies[own.point];
      const Estimate difference =
          PairedBootstrap(mine.credits, all.tallies[best->point].credits, mine.questions, /*seed=*/20260).difference;
      rivals.push_back({own, *best, *closest, difference});
    }
  }
  return rivals;
}

std::string PointLabel(const LabRow& row) {
  return row.budget > 0 ? absl::StrFormat("%s %g", row.profile, row.budget) : row.profile;
}

}  // namespace decant
