#include "services/lab/lab_point.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace decant {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(LabPointTest, BudgetsAreSharesInAscendingOrder) {
  EXPECT_THAT(ParseBudgets("0.3,0.1").value(), ElementsAre(0.1, 0.3));
  EXPECT_TRUE(ParseBudgets("").value().empty());
}

TEST(LabPointTest, BudgetsThatCannotBeSayWhy) {
  const auto error = [](absl::string_view list) { return ParseBudgets(list).status().ToString(); };
  EXPECT_THAT(error("0"), HasSubstr("budget 0 would keep nothing"));
  EXPECT_THAT(error("-0.2"), HasSubstr("budget -0.2 would keep nothing"));
  EXPECT_THAT(error("0.5,1"), HasSubstr("budget 1 would keep everything: that is profile full"));
  EXPECT_THAT(error("20"), HasSubstr("budget 20 would keep more than everything"));
  EXPECT_THAT(error("a"), HasSubstr("budget 'a' is no number"));
  EXPECT_THAT(error("nan"), HasSubstr("budget 'nan' is no number"));
  EXPECT_THAT(error("0.2,"), HasSubstr("budget '' is no number"));
  EXPECT_THAT(error("0.2,0.20"), HasSubstr("stands there twice"));
}

TEST(LabPointTest, FullIsAlwaysMeasuredAndFirst) {
  const Catalogue catalogue = Catalogue::BuiltIn().value();
  EXPECT_THAT(ParseProfiles("k8v4, k4v2", catalogue).value(), ElementsAre("full", "k8v4", "k4v2"));
  EXPECT_THAT(ParseProfiles("k8v4,full", catalogue).value(), ElementsAre("full", "k8v4"));
  EXPECT_EQ(ParseProfiles("", catalogue).value().size(), catalogue.Names().size());
}

TEST(LabPointTest, UnknownAndRepeatedProfilesAreNamed) {
  const Catalogue catalogue = Catalogue::BuiltIn().value();
  EXPECT_THAT(ParseProfiles("k8v5", catalogue).status().ToString(),
              AllOf(HasSubstr("'k8v5' is unknown"), HasSubstr("there are")));
  EXPECT_THAT(ParseProfiles("k8v4,k8v4", catalogue).status().ToString(), HasSubstr("k8v4 stands there twice"));
  EXPECT_THAT(ParseProfiles("full,full", catalogue).status().ToString(), HasSubstr("full stands there twice"));
}

}  // namespace
}  // namespace decant
