#include "services/lab/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace decant {
namespace {

TEST(ProgressTest, KindsThatWereMeasuredSpeakForThemselvesAndOthersByTheirWork) {
  std::vector<LabTask> tasks(2);
  tasks[0].name = "a";
  tasks[1].name = "b";
  std::vector<LabUnit> units(4);
  for (LabUnit& unit : units) unit.length = 100, unit.questions = 4;
  units[3].task = 1;
  units[3].length = 200;
  Progress progress(tasks, units, {true, false, false, false});
  EXPECT_EQ(progress.SecondsLeft(), 0) << "nothing is known yet";
  progress.Done(1, 10);
  EXPECT_DOUBLE_EQ(progress.SecondsLeft(), 10 + 20);
  progress.Done(3, 50);
  EXPECT_DOUBLE_EQ(progress.SecondsLeft(), 10);
  EXPECT_EQ(progress.Line(3), "3 of 4 units, b at 200 tokens, query-agnostic; about 10s left");
  progress.Done(2, 10);
  EXPECT_EQ(progress.SecondsLeft(), 0);
}

}  // namespace
}  // namespace decant
