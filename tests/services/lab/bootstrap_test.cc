#include "services/lab/bootstrap.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace decant {
namespace {

// One question per context.
std::vector<int32_t> Alone(size_t questions) { return std::vector<int32_t>(questions, 1); }

TEST(BootstrapTest, NoQuestionsGiveNothing) {
  const PairedEstimate estimate = PairedBootstrap({}, {}, {}, 1);
  EXPECT_EQ(estimate.accuracy.mean, 0);
  EXPECT_EQ(estimate.difference.half_width(), 0);
}

TEST(BootstrapTest, EqualCreditsDifferByNothingHoweverUnsureTheAccuracy) {
  const std::vector<double> credits = {1, 0, 1, 1, 0, 1, 0, 0, 1, 1};
  const PairedEstimate estimate = PairedBootstrap(credits, credits, Alone(credits.size()), 1);
  EXPECT_DOUBLE_EQ(estimate.accuracy.mean, 0.6);
  EXPECT_GT(estimate.accuracy.half_width(), 0.2);
  EXPECT_EQ(estimate.difference.low, 0);
  EXPECT_EQ(estimate.difference.high, 0);
  EXPECT_EQ(Verdict(estimate.difference, 1000), "same");
  EXPECT_EQ(Verdict(estimate.difference, 10), "undecided") << "ten questions that agree prove little";
}

// The interval of a mean of n coins is about 1.96 sqrt(p (1 - p) / n) to each side.
TEST(BootstrapTest, TheIntervalOfManyCoinsIsThatOfTheNormalDistribution) {
  std::vector<double> credits(1000), none(1000);
  for (size_t i = 0; i < credits.size(); ++i) credits[i] = i % 4 == 0 ? 1 : 0;
  const PairedEstimate estimate = PairedBootstrap(credits, none, Alone(credits.size()), 7);
  EXPECT_NEAR(estimate.accuracy.half_width(), 1.96 * std::sqrt(0.25 * 0.75 / 1000), 0.003);
  EXPECT_NEAR(estimate.difference.mean, 0.25, 1e-12);
}

// Four questions that always agree tell no more than one.
TEST(BootstrapTest, QuestionsOfOneContextAreDrawnTogether) {
  std::vector<double> credits(1000), none(1000);
  for (size_t i = 0; i < credits.size(); ++i) credits[i] = i / 4 % 4 == 0 ? 1 : 0;
  const PairedEstimate together = PairedBootstrap(credits, none, std::vector<int32_t>(250, 4), 7);
  EXPECT_NEAR(together.accuracy.half_width(), 1.96 * std::sqrt(0.252 * 0.748 / 250), 0.006);
  EXPECT_NEAR(together.difference.mean, 0.252, 1e-12);
  const PairedEstimate alone = PairedBootstrap(credits, none, Alone(1000), 7);
  EXPECT_LT(alone.accuracy.half_width(), 0.6 * together.accuracy.half_width());
}

TEST(BootstrapTest, IsAFunctionOfItsSeed) {
  const std::vector<double> credits = {1, 0, 0, 1, 1}, reference = {1, 1, 0, 0, 1};
  const PairedEstimate a = PairedBootstrap(credits, reference, {2, 3}, 3);
  const PairedEstimate b = PairedBootstrap(credits, reference, {2, 3}, 3);
  EXPECT_EQ(a.difference.low, b.difference.low);
  EXPECT_EQ(a.accuracy.high, b.accuracy.high);
}

TEST(BootstrapTest, AWideIntervalDecidesNothing) {
  EXPECT_EQ(Verdict({-0.2, -0.22, -0.18}, 400), "undecided");
  EXPECT_EQ(Verdict({-0.02, -0.03, -0.01}, 400), "worse");
  EXPECT_EQ(Verdict({0.02, 0.01, 0.03}, 400), "better");
  EXPECT_EQ(Verdict({0.005, -0.005, 0.015}, 400), "same");
}

}  // namespace
}  // namespace decant
