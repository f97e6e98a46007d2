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

void AddQuality(const std::string& model, const LabRow& row, std::vector<KeyedPlot>& plots) {
  KeyedPlot& keyed = FindOrAdd(plots, absl::StrCat(row.task, "_", ModeName(row.mode)),
                               [](KeyedPlot& plot) -> std::string& { return plot.key; });
  Plot& plot = keyed.plot;
  plot.title = absl::StrCat(model, ": ", row.task == "all" ? "all tasks" : row.task, ", ", ModeName(row.mode));
  plot.x_label = "resident bytes per token";
  plot.y_label = "accuracy, % (95 % interval)";
  plot.y_most = 100;
  plot.x_log = true;
  PlotPanel& panel =
      PanelOf(plot, row.task == "all" ? absl::StrCat(row.samples, " questions") : absl::StrCat(row.length, " tokens"));
  PlotSeries& series = SeriesOf(panel, row.profile);
  series.level = row.point == 0;
  const Estimate& accuracy = row.estimate.accuracy;
  series.points.push_back({row.bytes_per_token, 100 * accuracy.mean, 100 * accuracy.low, 100 * accuracy.high});
}

void AddLong(const std::string& model, const LabRow& row, std::vector<KeyedPlot>& plots) {
  KeyedPlot& keyed = FindOrAdd(plots, "long", [](KeyedPlot& plot) -> std::string& { return plot.key; });
  Plot& plot = keyed.plot;
  plot.title = absl::StrCat(model, ": long output, divergence from full by output token");
  plot.x_label = absl::StrCat("output tokens, in steps of ", kLongSpan);
  plot.y_label = "KL to full, nats per token";
  plot.y_log = true;
  PlotSeries& series = SeriesOf(PanelOf(plot, absl::StrCat("after ", row.length, " tokens")), PointLabel(row));
  const double end = static_cast<double>(series.points.size() + 1) * kLongSpan;
  series.points.push_back({end, row.divergence, row.divergence, row.divergence});
}

}  // namespace

std::vector<NamedPlot> DrawLabPlots(const std::string& model, const std::vector<LabRow>& summary,
                                    const std::vector<LabRow>& rows) {
  std::vector<KeyedPlot> plots;
  for (const LabRow& row : summary) AddQuality(model, row, plots);
  for (const LabRow& row : rows) {
    if (row.is_long) {
      // Full precision differs from itself by nothing, which a logarithm cannot show.
      if (row.point > 0) AddLong(model, row, plots);
    } else {
      AddQuality(model, row, plots);
    }
  }
  std::vector<NamedPlot> drawn;
  for (const KeyedPlot& keyed : plots) drawn.push_back({FileName(keyed.key), DrawSvg(keyed.plot)});
  return drawn;
}

}  // namespace decant
