#include "services/lab/plot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/lab/lab_plots.h"

namespace decant {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

TEST(PlotTest, TicksAreRoundAndHoldTheRange) {
  EXPECT_THAT(Ticks(0, 100, 5), ElementsAre(0, 20, 40, 60, 80, 100));
  EXPECT_THAT(Ticks(63, 100, 4), ElementsAre(60, 70, 80, 90, 100));
  EXPECT_THAT(Ticks(0, 3072, 5), ElementsAre(0, 1000, 2000, 3000, 4000));
  EXPECT_THAT(Ticks(5, 5, 5).size(), testing::Ge(2u));
}

TEST(PlotTest, LogTicksAreOneTwoAndFive) {
  EXPECT_THAT(LogTicks(300, 3072), ElementsAre(200, 500, 1000, 2000, 5000));
  EXPECT_THAT(LogTicks(1, 10), ElementsAre(1, 2, 5, 10));
  EXPECT_EQ(LogTicks(1e-5, 1).size(), 6u);
  EXPECT_THAT(LogTicks(7, 7), ElementsAre(5, 10));
}

Plot Sample() {
  Plot plot;
  plot.title = "a < b & c";
  plot.x_label = "bytes";
  plot.y_label = "accuracy, %";
  plot.y_most = 100;
  plot.panels = {
      {"one", {{"full", {{3000, 90, 80, 95}}, true}, {"k8v4", {{1400, 80, 80, 80}, {700, 70, 60, 75}}, false}}},
      {"two", {{"k8v4", {{1400, 85, 80, 90}}, false}}}};
  return plot;
}

size_t Count(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(PlotTest, DrawsWhatItWasGiven) {
  const std::string svg = DrawSvg(Sample());
  EXPECT_THAT(svg, HasSubstr("a &lt; b &amp; c"));
  EXPECT_THAT(svg, HasSubstr(">k8v4</text>"));
  EXPECT_EQ(Count(svg, "<polyline"), 1u) << "only a series of two points has a line";
  EXPECT_EQ(Count(svg, "stroke-dasharray"), 1u);
  EXPECT_EQ(Count(svg, "<circle"), 2u) << "one point and its legend";
  EXPECT_EQ(Count(svg, "<svg"), 1u);
  EXPECT_EQ(svg.substr(svg.size() - 7), "</svg>\n");
}

TEST(PlotTest, LogarithmicAxesTakeWhatIsNotPositive) {
  Plot plot = Sample();
  plot.x_log = plot.y_log = true;
  plot.y_most = 0;
  plot.panels[0].series[0].points[0] = {0, 0, -1, 0};
  const std::string svg = DrawSvg(plot);
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_THAT(svg, Not(HasSubstr("inf")));
}

TEST(PlotTest, AnEmptyPlotIsStillADocument) {
  EXPECT_THAT(DrawSvg(Plot()), HasSubstr("</svg>"));
  Plot plot;
  plot.panels.resize(1);
  EXPECT_THAT(DrawSvg(plot), Not(HasSubstr("nan")));
}

TEST(LabPlotsTest, ThereIsOnePlotPerTaskAndMode) {
  std::vector<LabRow> rows(3);
  rows[0].task = rows[1].task = "my task/1";
  rows[1].mode = LabMode::kQueryAware;
  rows[2].task = "long 1-128";
  rows[2].is_long = true;
  rows[2].point = 1;
  const std::vector<NamedPlot> plots = DrawLabPlots("m", {}, rows);
  ASSERT_EQ(plots.size(), 3u);
  EXPECT_EQ(plots[0].name, "my_task_1_query-agnostic");
  EXPECT_EQ(plots[1].name, "my_task_1_query-aware");
  EXPECT_EQ(plots[2].name, "long");
}

TEST(LabPlotsTest, AllTasksHaveAccuracyDivergenceAndPerplexity) {
  std::vector<LabRow> rows(2);
  rows[0].task = rows[1].task = "all";
  rows[0].profile = "full";
  rows[1].profile = "decant";
  rows[1].point = 1;
  rows[1].divergence = 0.1;
  rows[0].perplexity = rows[1].perplexity = 2;
  rows[0].bytes_per_token = rows[1].bytes_per_token = 100;
  const std::vector<NamedPlot> plots = DrawLabPlots("m", rows, {});
  ASSERT_EQ(plots.size(), 3u);
  EXPECT_EQ(plots[0].name, "all_query-agnostic");
  EXPECT_EQ(plots[1].name, "all_query-agnostic_perplexity");
  EXPECT_EQ(plots[2].name, "all_query-agnostic_kl");
  EXPECT_THAT(plots[2].svg, Not(HasSubstr(">full</text>"))) << "it differs from itself by nothing";
}

TEST(LabPlotsTest, TheLongOutputHasALinePerProfileNotPerBudget) {
  std::vector<LabRow> rows(2);
  for (LabRow& row : rows) {
    row.task = "long 1-128";
    row.is_long = true;
    row.profile = "snapkv";
    row.divergence = 0.5;
  }
  rows[0].point = 1;
  rows[1].point = 2;
  rows[1].budget = 0.2;
  const std::vector<NamedPlot> plots = DrawLabPlots("m", {}, rows);
  ASSERT_EQ(plots.size(), 1u);
  EXPECT_EQ(Count(plots[0].svg, "<circle"), 2u) << "one point and its legend";
}

}  // namespace
}  // namespace decant
