#include "services/lab/quality_table.h"

#include <gtest/gtest.h>

namespace decant {
namespace {

TEST(QualityTableTest, QualityIsTheShareOfFullsCreditAtTheProfilesOwnSetting) {
  std::vector<LabPoint> points(4);
  points[0].profile = "full";
  points[1].profile = "k4v2";
  points[2].profile = "k4v2";
  points[2].budget = 0.2;
  points[3].profile = "k8v4";
  std::vector<LabRow> summary(8);
  for (size_t i = 0; i < summary.size(); ++i) {
    summary[i].point = i % 4;
    summary[i].samples = i < 4 ? 100 : 50;  // two modes
    summary[i].estimate.accuracy.mean = i % 4 == 0 ? 0.8 : i % 4 == 1 ? 0.6 : i % 4 == 2 ? 0.1 : 0.9;
  }
  std::vector<PointResult> totals(4);
  for (size_t i = 0; i < totals.size(); ++i) {
    totals[i].prompt_tokens = 1000;
    totals[i].frame_bytes = i == 1 ? 25'000 : 100'000;
    totals[i].resident_bytes = i == 1 ? 50'000 : 100'000;
    totals[i].resident_tokens = i == 1 ? 2000 : 1000;  // what was fed may be counted, unlike on the wire
  }
  const std::vector<ProfileCost> costs = QualityOf(points, summary, totals, 100);
  ASSERT_EQ(costs.size(), 3u);
  EXPECT_EQ(costs[0].quality, 1);
  EXPECT_DOUBLE_EQ(costs[1].quality, 0.75);
  EXPECT_DOUBLE_EQ(costs[1].wire_ratio, 4);
  EXPECT_DOUBLE_EQ(costs[1].resident_ratio, 4);
  EXPECT_EQ(costs[2].quality, 1) << "a profile luckier than full is as good as full";
}

TEST(QualityTableTest, PlanCanReadWhatIsWritten) {
  std::vector<ProfileCost> costs(2);
  costs[0] = {"full", 1, 1, 1, 1e9, 1, {}};
  costs[1] = {"k8v4", 0.97, 2.4, 2.2, 5e8, 1.1, {}};
  const ProfileTable table =
      ParseProfileTable(QualityJson({"m", Sha256("m"), "decant lab", "here", "abc", "2026-01-02"}, costs)).value();
  EXPECT_EQ(table.model, "m");
  EXPECT_EQ(table.fingerprint, Sha256("m"));
  EXPECT_EQ(table.measured, "decant lab; here; abc; 2026-01-02");
  ASSERT_NE(table.Find("k8v4"), nullptr);
  EXPECT_EQ(table.Find("k8v4")->quality, 0.97);
}

}  // namespace
}  // namespace decant
