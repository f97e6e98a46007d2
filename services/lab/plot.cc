#include "services/lab/plot.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "services/lab/svg.h"

namespace decant {
namespace {

constexpr int kPanelsInRow = 3;
constexpr double kPanelWidth = 420, kPanelHeight = 320;
constexpr double kLeft = 66, kTop = 64, kGapX = 34, kGapY = 78, kBottom = 52;
constexpr double kLegendWidth = 150, kLegendLine = 18;
constexpr double kTitleLetter = 9.5;  // about the width of one

// Colours that stay apart for most eyes on white; marks tell apart what shares one.
constexpr const char* kPalette[] = {"#222222", "#1f77b4", "#d62728", "#2ca02c", "#9467bd",
                                    "#ff7f0e", "#17a2b8", "#8c564b", "#e377c2", "#7f7f00"};

struct Axis {
  std::vector<double> ticks;
  bool log = false;

  // From 0 at the first tick to 1 at the last.
  double Share(double value) const {
    const double first = ticks.front(), last = ticks.back();
    if (!log) return (value - first) / (last - first);
    return std::log(std::max(value, first) / first) / std::log(last / first);
  }
};

struct Axes {
  Axis x, y;
  double left = 0, top = 0;  // of the panel

  double X(double value) const { return left + x.Share(value) * kPanelWidth; }
  double Y(double value) const { return top + kPanelHeight - y.Share(value) * kPanelHeight; }
};

std::vector<std::string> Names(const Plot& plot) {
  std::vector<std::string> names;
  for (const PlotPanel& panel : plot.panels) {
    for (const PlotSeries& series : panel.series) {
      if (std::find(names.begin(), names.end(), series.name) == names.end()) names.push_back(series.name);
    }
  }
  return names;
}

struct Style {
  const char* color;
  int mark;
};
Style StyleOf(const std::vector<std::string>& names, const std::string& name) {
  const auto place = static_cast<size_t>(std::find(names.begin(), names.end(), name) - names.begin());
  return {kPalette[place % std::size(kPalette)], static_cast<int>((place + place / std::size(kPalette)) % 4)};
}

struct Range {
  double least = INFINITY, most = -INFINITY;
  void Add(double value, bool log) {
    if (log && value <= 0) return;
    least = std::min(least, value);
    most = std::max(most, value);
  }
  Axis ToAxis(bool log, int count) const {
    Axis axis;
    axis.log = log;
    const double low = std::isfinite(least) ? least : log ? 0.1 : 0, high = std::isfinite(most) ? most : 1;
    axis.ticks = log ? LogTicks(low, high) : Ticks(low, high, count);
    return axis;
  }
};

Axes SharedAxes(const Plot& plot) {
  Range x, y;
  if (!plot.x_log) x.Add(0, false);
  if (plot.y_most != 0) y.Add(plot.y_most, plot.y_log);
  for (const PlotPanel& panel : plot.panels) {
    for (const PlotSeries& series : panel.series) {
      for (const PlotPoint& point : series.points) {
        x.Add(point.x, plot.x_log);
        y.Add(point.low, plot.y_log);
        y.Add(point.high, plot.y_log);
      }
    }
  }
  Axes axes;
  axes.x = x.ToAxis(plot.x_log, 5);
  axes.y = y.ToAxis(plot.y_log, 6);
  return axes;
}

std::string Number(double value) { return absl::StrFormat("%g", std::abs(value) < 1e-12 ? 0 : value); }

void DrawFrame(Svg& svg, const Plot& plot, const PlotPanel& panel, const Axes& axes) {
  const double right = axes.left + kPanelWidth, bottom = axes.top + kPanelHeight;
  for (const double tick : axes.y.ticks) {
    svg.Line(axes.left, axes.Y(tick), right, axes.Y(tick), "#e4e4e4", 1);
    svg.Text(axes.left - 6, axes.Y(tick) + 4, Number(tick), 11, "end");
  }
  for (const double tick : axes.x.ticks) {
    svg.Line(axes.X(tick), bottom, axes.X(tick), bottom + 4, "#444", 1);
    svg.Text(axes.X(tick), bottom + 17, Number(tick), 11, "middle");
  }
  svg.Line(axes.left, axes.top, axes.left, bottom, "#444", 1);
  svg.Line(axes.left, bottom, right, bottom, "#444", 1);
  svg.Text(axes.left + kPanelWidth / 2, axes.top - 10, panel.title, 13, "middle", /*bold=*/true);
  svg.Text(axes.left + kPanelWidth / 2, bottom + 36, plot.x_label, 12, "middle");
}

void DrawSeries(Svg& svg, const PlotSeries& series, const Style& style, const Axes& axes) {
  if (series.points.empty()) return;
  std::vector<PlotPoint> points = series.points;
  std::sort(points.begin(), points.end(), [](const PlotPoint& a, const PlotPoint& b) { return a.x < b.x; });
  if (series.level) {
    const double y = axes.Y(series.points[0].y);
    svg.Line(axes.left, y, axes.left + kPanelWidth, y, style.color, 1, "5 4");
  }
  std::vector<std::pair<double, double>> path;
  for (const PlotPoint& point : points) {
    const double x = axes.X(point.x);
    path.emplace_back(x, axes.Y(point.y));
    if (point.low == point.high) continue;
    const double low = axes.Y(std::max(point.low, axes.y.ticks.front()));
    const double high = axes.Y(std::min(point.high, axes.y.ticks.back()));
    // Pale: some dozen of them stand over each other where profiles are good.
    svg.Line(x, low, x, high, absl::StrCat(style.color, "55"), 1.2);
  }
  svg.Path(path, style.color, series.strong ? 3.2 : 1.4);
  for (const auto& [x, y] : path) svg.Mark(style.mark, x, y, style.color);
}

}  // namespace

std::vector<double> Ticks(double low, double high, int count) {
  const double raw = std::max((high - low) / count, 1e-12);
  const double power = std::pow(10, std::floor(std::log10(raw)));
  double step = 10 * power;
  for (const double factor : {5.0, 2.5, 2.0, 1.0}) {
    if (factor * power >= raw * (1 - 1e-9)) step = factor * power;
  }
  std::vector<double> ticks;
  const double first = std::floor(low / step + 1e-9);
  for (double i = first; ticks.size() < 2 || ticks.back() < high - step * 1e-6; ++i) ticks.push_back(i * step);
  return ticks;
}

std::vector<double> LogTicks(double low, double high) {
  for (const bool fine : {true, false}) {
    std::vector<double> ticks;
    for (int power = static_cast<int>(std::floor(std::log10(low) + 1e-9)); ticks.size() < 100; ++power) {
      for (const double factor : {1.0, 2.0, 5.0}) {
        if (!fine && factor != 1) continue;
        const double tick = factor * std::pow(10, power);
        // The last tick at or below `low` begins the axis.
        if (!ticks.empty() && tick <= low * (1 + 1e-9)) ticks.clear();
        if (ticks.size() < 2 || ticks.back() < high * (1 - 1e-9)) ticks.push_back(tick);
      }
      if (ticks.size() > 1 && ticks.back() >= high * (1 - 1e-9)) break;
    }
    if (!fine || ticks.size() <= 8) return ticks;
  }
  return {};
}

std::string DrawSvg(const Plot& plot) {
  const auto panels = static_cast<int>(plot.panels.size());
  const int columns = std::clamp(panels, 1, kPanelsInRow),
            rows = std::max(1, (panels + kPanelsInRow - 1) / kPanelsInRow);
  const std::vector<std::string> names = Names(plot);
  const double legend_x = kLeft + columns * (kPanelWidth + kGapX);
  const double height = kTop + rows * kPanelHeight + (rows - 1) * kGapY + kBottom;
  // The legend takes as many columns as it needs to be no higher than the panels.
  const auto in_column = static_cast<size_t>((height - kTop) / kLegendLine);
  const auto legends = static_cast<double>((names.size() + in_column - 1) / in_column);
  const double width =
      std::max(legend_x + legends * kLegendWidth, kLeft + static_cast<double>(plot.title.size()) * kTitleLetter);
  Svg svg(width, height);
  svg.Text(kLeft, 26, plot.title, 16, "start", /*bold=*/true);
  Axes axes = SharedAxes(plot);
  for (int i = 0; i < panels; ++i) {
    const PlotPanel& panel = plot.panels[static_cast<size_t>(i)];
    axes.left = kLeft + i % kPanelsInRow * (kPanelWidth + kGapX);
    axes.top = kTop + i / kPanelsInRow * (kPanelHeight + kGapY);
    DrawFrame(svg, plot, panel, axes);
    if (i % kPanelsInRow == 0) svg.VerticalText(18, axes.top + kPanelHeight / 2, plot.y_label, 12);
    for (const PlotSeries& series : panel.series) DrawSeries(svg, series, StyleOf(names, series.name), axes);
  }
  for (size_t i = 0; i < names.size(); ++i) {
    const double x = legend_x + static_cast<double>(i / in_column) * kLegendWidth;
    const double y = kTop + 8 + static_cast<double>(i % in_column) * kLegendLine;
    const Style style = StyleOf(names, names[i]);
    svg.Line(x, y, x + 24, y, style.color, 1.6);
    svg.Mark(style.mark, x + 12, y, style.color);
    svg.Text(x + 30, y + 4, names[i], 12, "start");
  }
  return svg.Finish();
}

}  // namespace decant
