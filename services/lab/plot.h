// Line plots as SVG, written by hand so that the lab needs nothing to draw with.
#ifndef DECANT_SERVICES_LAB_PLOT_H_
#define DECANT_SERVICES_LAB_PLOT_H_

#include <string>
#include <vector>

namespace decant {

struct PlotPoint {
  double x = 0;
  double y = 0;
  double low = 0;  // whisker from low to high; none where both are y
  double high = 0;
};

// A series has the same colour and mark in every panel: both come from its name's place among all names.
struct PlotSeries {
  std::string name;
  std::vector<PlotPoint> points;  // joined in order of x
  bool level = false;             // also a dashed line across the panel at the first point's y: what others aim at
  bool strong = false;            // a thicker line: what the plot is about
};

struct PlotPanel {
  std::string title;
  std::vector<PlotSeries> series;
};

struct Plot {
  std::string title;
  std::string x_label;  // with units
  std::string y_label;
  double y_most = 0;   // the axis ends there; 0 = above the highest point
  bool x_log = false;  // what is not above 0 then stands at the axis' beginning
  bool y_log = false;
  std::vector<PlotPanel> panels;  // side by side, three to a row, over the same axes
};

// A whole SVG document; names and titles are escaped.
std::string DrawSvg(const Plot& plot);

// Round steps (1, 2, 2.5 or 5 times a power of ten) from at most `low` to at least `high`, about `count` of them.
std::vector<double> Ticks(double low, double high, int count);
// The same for a logarithmic axis, 0 < low <= high: 1, 2 and 5 times powers of ten; powers of ten alone where those are
// more than 8.
std::vector<double> LogTicks(double low, double high);

}  // namespace decant

#endif  // DECANT_SERVICES_LAB_PLOT_H_
