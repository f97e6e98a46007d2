#include "services/lab/plot.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"
#include "services/lab/svg.h"

namespace decant {
namespace {

constexpr int kPanelsInRow = 3;
constexpr double kPanelWidth = 300, kPanelHeight = 240;
constexpr double kLeft = 66, kTop = 64, kGapX = 34, kGapY = 78, kBottom = 52;
constexpr double kLegendWidth = 190, kLegendLine = 18;

// Colours that stay apart for most eyes on white; marks tell apart what shares one.
constexpr const char* kPalette[] = {"#222222", "#1f77b4", "#d62728", "#2ca02c", "#9467bd",
                                    "#ff7f0e", "#17a2b8", "#8c564b", "#e377c2", "#7f7f00"};

struct Axes {
  std::vector<double> x_ticks, y_ticks;
  double left = 0, top = 0;  // of the panel

  double X(double x) const { return left + (x - x_ticks.front()) / (x_ticks.back() - x_ticks.front()) * kPanelWidth; }
  double Y(double y) const {
    return top + kPanelHeight - (y - y_ticks.front()) / (y_ticks.back() - y_ticks.front()) * kPanelHeight;
  }
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

Axes SharedAxes(const Plot& plot) {
  double x_most = 0, y_least = plot.y_from_zero ? 0 : INFINITY, y_most = plot.y_most;
  for (const PlotPanel& panel : plot.panels) {
    for (const PlotSeries& series : panel.series) {
      for (const PlotPoint& point : series.points) {
        x_most = std::max(x_most, point.x);
        y_least = std::min(y_least, point.low);
        if (plot.y_most == 0) y_most = std::max(y_most, point.high);
      }
    }
  }
  if (!std::isfinite(y_least)) y_least = 0;
  Axes axes;
  axes.x_ticks = Ticks(0, x_most > 0 ? x_most : 1, 5);
  axes.y_ticks = Ticks(std::min(y_least, y_most * 0.9), y_most > 0 ? y_most : 1, 6);
  return axes;
}

std::string Number(double value) { return absl::StrFormat("%g", std::abs(value) < 1e-12 ? 0 : value); }

void DrawFrame(Svg& svg, const Plot& plot, const PlotPanel& panel, const Axes& axes) {
  const double right = axes.left + kPanelWidth, bottom = axes.top + kPanelHeight;
  for (const double tick : axes.y_ticks) {
    svg.Line(axes.left, axes.Y(tick), right, axes.Y(tick), "#e4e4e4", 1);
    svg.Text(axes.left - 6, axes.Y(tick) + 4, Number(tick), 11, "end");
  }
  for (const double tick : axes.x_ticks) {
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
    const double low = axes.Y(std::max(point.low, axes.y_ticks.front()));
    const double high = axes.Y(std::min(point.high, axes.y_ticks.back()));
    svg.Line(x, low, x, high, style.color, 0.8);
    svg.Line(x - 3, low, x + 3, low, style.color, 0.8);
    svg.Line(x - 3, high, x + 3, high, style.color, 0.8);
  }
  svg.Path(path, style.color, 1.6);
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

std::string DrawSvg(const Plot& plot) {
  const auto panels = static_cast<int>(plot.panels.size());
  const int columns = std::clamp(panels, 1, kPanelsInRow),
            rows = std::max(1, (panels + kPanelsInRow - 1) / kPanelsInRow);
  const std::vector<std::string> names = Names(plot);
  const double legend_x = kLeft + columns * (kPanelWidth + kGapX);
  const double height = std::max(kTop + rows * kPanelHeight + (rows - 1) * kGapY + kBottom,
                                 kTop + static_cast<double>(names.size()) * kLegendLine + 20);
  Svg svg(legend_x + kLegendWidth, height);
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
    const double y = kTop + 8 + static_cast<double>(i) * kLegendLine;
    const Style style = StyleOf(names, names[i]);
    svg.Line(legend_x, y, legend_x + 24, y, style.color, 1.6);
    svg.Mark(style.mark, legend_x + 12, y, style.color);
    svg.Text(legend_x + 30, y + 4, names[i], 12, "start");
  }
  return svg.Finish();
}

}  // namespace decant
