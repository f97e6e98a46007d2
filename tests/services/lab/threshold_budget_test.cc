#include "services/lab/threshold_budget.h"

#include <gtest/gtest.h>

#include <cmath>

namespace decant {
namespace {

TEST(ThresholdBudgetTest, AFactorLiesBetweenThoseThatWereTried) {
  const std::vector<double> factors = {1, 2, 4}, shares = {0.5, 0.3, 0.1};
  EXPECT_DOUBLE_EQ(*FactorFor(factors, shares, 0.3), 2);
  EXPECT_DOUBLE_EQ(*FactorFor(factors, shares, 0.2), 2 * std::sqrt(2.0));
  EXPECT_DOUBLE_EQ(*FactorFor(factors, shares, 0.5), 1);
  EXPECT_DOUBLE_EQ(*FactorFor(factors, shares, 0.1), 4);
}

TEST(ThresholdBudgetTest, NothingReachesABudgetOutsideOfThem) {
  const std::vector<double> factors = {1, 2}, shares = {0.5, 0.3};
  EXPECT_FALSE(FactorFor(factors, shares, 0.6).has_value());
  EXPECT_FALSE(FactorFor(factors, shares, 0.2).has_value());
  EXPECT_DOUBLE_EQ(*FactorFor({1, 2}, {0.4, 0.4}, 0.4), 1);
}

TEST(ThresholdBudgetTest, ScaledAlphasCanPruneAndHaveADigestOfTheirOwn) {
  Profile profile = Catalogue::BuiltIn().value().Find("diffkv").value();
  profile.alpha_high = 5;
  profile.alpha_low = 0;
  const Profile scaled = WithScaledAlphas(profile, 2);
  EXPECT_DOUBLE_EQ(scaled.alpha_high, 10);
  EXPECT_DOUBLE_EQ(scaled.alpha_low, 0.01);
  EXPECT_NE(scaled.digest, profile.digest);
  profile.alpha_low = 0.5;
  EXPECT_DOUBLE_EQ(WithScaledAlphas(profile, 2).alpha_low, 1);
}

}  // namespace
}  // namespace decant
