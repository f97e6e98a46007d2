#include "services/lab/lab_plots.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "services/lab/plot.h"

namespace decant {
namespace {

template <typename Item, typename Named>
Item& FindOrAdd(std::vector<Item>& items, const std::string& name, Named named) {
  for (Item& item : items) {
    if (named(item) == name) return item;
  }
  items.emplace_back();
  named(items.back()) = name;
  return items.back();
}

PlotPanel& PanelOf(Plot& plot, const std::string& title) {
  return FindOrAdd(plot.panels, title, [](PlotPanel& panel) -> std::string& { return panel.title; });
}

PlotSeries& SeriesOf(PlotPanel& panel, const std::string& name) {
  return FindOrAdd(panel.series, name, [](PlotSeries& series) -> std::string& { return series.name; });
}

// Letters, digits, '-' and '_': a user's file may be named anything.
std::string FileName(std::string name) {
  for (char& c : name) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '-') c = '_';
  }
  return name;
}

struct KeyedPlot {
  std::string key;
  Plot plot;
};

// decant's own stand out: the plots are read for them.
bool IsOurs(const std::string& profile) { return profile.rfind("decant", 0) == 0; }

// What stands on the upright axis of a plot over bytes.
struct Measure {
  const char* suffix;  // of the file's name
  const char* label;
  bool log;
  double most;
  PlotPoint (*point)(const LabRow& row);
};

constexpr Measure kAccuracy = {
    "", "accuracy, % (95 % interval)", false, 100, [](const LabRow& row) {
      const Estimate& accuracy = row.estimate.accuracy;
      return PlotPoint{row.bytes_per_token, 100 * accuracy.mean, 100 * accuracy.low, 100 * accuracy.high};
    }};
constexpr Measure kDivergence = {
    "_kl", "KL to full, nats per token", true, 0, [](const LabRow& row) {
      return PlotPoint{row.bytes_per_token, row.divergence, row.divergence, row.divergence};
    }};
constexpr Measure kPerplexity = {
    "_perplexity", "perplexity of the answers", true, 0, [](const LabRow& row) {
      return PlotPoint{row.bytes_per_token, row.perplexity, row.perplexity, row.perplexity};
    }};

void AddOverBytes(const std::string& model, const Measure& measure, const LabRow& row, std::vector<KeyedPlot>& plots) {
  KeyedPlot& keyed = FindOrAdd(plots, absl::StrCat(row.task, "_", ModeName(row.mode), measure.suffix),
                               [](KeyedPlot& plot) -> std::string& { return plot.key; });
  Plot& plot = keyed.plot;
  plot.title = absl::StrCat(model, ": ", row.task == "all" ? "all tasks" : row.task, ", ", ModeName(row.mode));
  plot.x_label = "resident bytes per token";
  plot.y_label = measure.label;
  plot.y_most = measure.most;
  plot.x_log = true;
  plot.y_log = measure.log;
  const std::string length = row.length > 0 ? absl::StrCat(row.length, " tokens") : "";
  const std::string title =
      row.task == "all" ? absl::StrCat(length, length.empty() ? "" : ", ", row.samples, " questions") : length;
  PlotPanel& panel = PanelOf(plot, title);
  PlotSeries& series = SeriesOf(panel, row.profile);
  series.level = row.point == 0 && !measure.log;
  series.strong = IsOurs(row.profile);
  series.points.push_back(measure.point(row));
}

void AddLong(const std::string& model, const LabRow& row, std::vector<KeyedPlot>& plots) {
  KeyedPlot& keyed = FindOrAdd(plots, "long", [](KeyedPlot& plot) -> std::string& { return plot.key; });
  Plot& plot = keyed.plot;
  plot.title = absl::StrCat(model, ": long output, divergence from full by output token");
  plot.x_label = absl::StrCat("output tokens, in steps of ", kLongSpan);
  plot.y_label = "KL to full, nats per token";
  plot.y_log = true;
  PlotSeries& series = SeriesOf(PanelOf(plot, absl::StrCat("after ", row.length, " tokens")), row.profile);
  series.strong = IsOurs(row.profile);
  const double end = static_cast<double>(series.points.size() + 1) * kLongSpan;
  series.points.push_back({end, row.divergence, row.divergence, row.divergence});
}

}  // namespace

std::vector<NamedPlot> DrawLabPlots(const std::string& model, const std::vector<LabRow>& overall,
                                    const std::vector<LabRow>& rows) {
  std::vector<KeyedPlot> plots;
  for (const LabRow& row : overall) {
    AddOverBytes(model, kAccuracy, row, plots);
    // Full precision differs from itself by nothing, which a logarithm cannot show.
    if (row.point > 0) AddOverBytes(model, kDivergence, row, plots);
    AddOverBytes(model, kPerplexity, row, plots);
  }
  for (const LabRow& row : rows) {
    if (!row.is_long) AddOverBytes(model, kAccuracy, row, plots);
    // One line per profile, at its own setting: all budgets would be too many to tell apart.
    if (row.is_long && row.point > 0 && row.budget == 0) AddLong(model, row, plots);
  }
  std::vector<NamedPlot> drawn;
  for (const KeyedPlot& keyed : plots) drawn.push_back({FileName(keyed.key), DrawSvg(keyed.plot)});
  return drawn;
}

}  // namespace decant
