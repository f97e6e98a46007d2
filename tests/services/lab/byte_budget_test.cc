#include "services/lab/byte_budget.h"

#include <gtest/gtest.h>

namespace decant {
namespace {

constexpr Geometry kGeometry{6, 8, 2, 64};  // 256 bytes of full precision per token and head

Profile Named(const std::string& name) { return Catalogue::BuiltIn().value().Find(name).value(); }

std::optional<Profile> Sized(const Profile& profile, double share) {
  return WithByteBudget(profile, kGeometry, RunType::kBf16, share).value();
}

TEST(ByteBudgetTest, FullTokensTakeTheirShareOfTheTokens) {
  EXPECT_NEAR(Sized(Named("snapkv"), 0.2)->budget, 0.2, 1e-9);
  EXPECT_NEAR(Sized(Named("kvzip"), 0.35)->budget, 0.35, 1e-9);
}

TEST(ByteBudgetTest, WhatATokenHoldsBesidesItsKvCounts) {
  // 4 bytes of score and 4 of position.
  EXPECT_NEAR(Sized(Named("h2o"), 0.2)->budget, 0.2 * 256 / 264, 1e-9);
}

TEST(ByteBudgetTest, QuantisedTokensAreMore) {
  Profile profile = Named("kvzip");
  profile.high = "k4v4";  // 32 + 32 bytes and two pairs of 4
  EXPECT_NEAR(Sized(profile, 0.2)->budget, 0.2 * 256 / 72, 1e-9);
  EXPECT_FALSE(Sized(profile, 0.3).has_value()) << "all tokens together take 72 / 256";
}

TEST(ByteBudgetTest, TokensOfTheLowFormatTakeTheirPart) {
  const Profile profile = Named("diffkv-static");  // 112 and 64 bytes, of tracked tokens
  const auto high = static_cast<double>(TokenBytes(FormatId::kK8V4, 64));
  const auto low = static_cast<double>(TokenBytes(FormatId::kK4V2, 64));
  const std::optional<Profile> sized = Sized(profile, 0.35);
  ASSERT_TRUE(sized.has_value());
  EXPECT_NEAR(sized->budget * high + (1 - sized->budget) * low, 0.35 * 256, 1e-9);
  EXPECT_FALSE(Sized(profile, 0.2).has_value()) << "the low format alone takes more";
}

TEST(ByteBudgetTest, ARankingCutTwiceKeepsItsSharesUntilAllTokensStay) {
  Profile profile = Named("kvzip");
  profile.allocate = "global_tiers";
  profile.high = "k8v4";
  profile.low = "k4v2";
  profile.high_share = 0.5;
  const auto high = static_cast<double>(TokenBytes(FormatId::kK8V4, 64));
  const auto low = static_cast<double>(TokenBytes(FormatId::kK4V2, 64));
  const std::optional<Profile> some = Sized(profile, 0.2);
  EXPECT_NEAR(some->budget, 0.2 * 256 / ((high + low) / 2), 1e-9);
  EXPECT_EQ(some->high_share, 0.5);
  const std::optional<Profile> all = Sized(profile, 0.4);
  EXPECT_EQ(all->budget, 1);
  EXPECT_NEAR(all->high_share * high + (1 - all->high_share) * low, 0.4 * 256, 1e-9);
  EXPECT_FALSE(Sized(profile, 0.5).has_value());
}

TEST(ByteBudgetTest, LayersBehindAPropagationHaveNoMoreThanItsShare) {
  const Profile profile = Named("fastkv");  // three of six layers see all, the others 0.2
  EXPECT_NEAR(Sized(profile, 0.15)->budget, 0.15, 1e-6);
  EXPECT_NEAR(Sized(profile, 0.35)->budget, 0.5, 1e-6);
  EXPECT_FALSE(Sized(profile, 0.65).has_value());
}

TEST(ByteBudgetTest, AnotherBudgetHasAnotherDigest) {
  EXPECT_NE(Sized(Named("snapkv"), 0.1)->digest, Sized(Named("snapkv"), 0.15)->digest);
}

}  // namespace
}  // namespace decant
