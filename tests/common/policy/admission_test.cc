#include "common/policy/admission.h"

#include "gtest/gtest.h"

namespace decant {
namespace {

TEST(AdmissionTest, KnowsNothingBeforeAPromptWasServed) {
  Admission admission;
  EXPECT_EQ(admission.ServiceMs(1000), 0);
  EXPECT_EQ(admission.WaitMs({1000, 1000, 1}), 0);
}

TEST(AdmissionTest, WaitsForWhatIsQueuedAndForHalfOfWhatRuns) {
  Admission admission;
  admission.Served(100, 50);
  EXPECT_DOUBLE_EQ(admission.ServiceMs(300), 150);
  EXPECT_DOUBLE_EQ(admission.WaitMs({400, 200, 1}), 200 + 50);
  EXPECT_DOUBLE_EQ(admission.WaitMs({400, 200, 2}), 125);
  EXPECT_DOUBLE_EQ(admission.WaitMs({400, 200, 0}), 250) << "no place counts as one";
}

TEST(AdmissionTest, LongPromptsCountByTheirTokensAndOldOnesFade) {
  Admission admission;
  admission.Served(900, 900);
  admission.Served(100, 50);
  EXPECT_DOUBLE_EQ(admission.ServiceMs(1000), 1000 * (900 * 15 / 16.0 + 50) / (900 * 15 / 16.0 + 100));
  for (int i = 0; i < 200; ++i) admission.Served(100, 10);
  EXPECT_NEAR(admission.ServiceMs(100), 10, 0.01);
}

TEST(AdmissionTest, IgnoresWhatCannotBe) {
  Admission admission;
  admission.Served(0, 10);
  admission.Served(10, -1);
  EXPECT_EQ(admission.ServiceMs(10), 0);
}

}  // namespace
}  // namespace decant
