#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "common/compress/profile.h"

namespace decant {
namespace {

constexpr Geometry kGeometry{4, 8, 2, 64};

absl::StatusOr<Recipe> CompileBuiltIn(absl::string_view name, const std::function<void(Profile&)>& change = {}) {
  Profile profile = Catalogue::BuiltIn().value().Find(name).value();
  if (change) change(profile);
  return Compile(profile, kGeometry, RunType::kBf16);
}

TEST(SplitProfileTest, KiviHasFourHalfFormats) {
  for (const bool two_bits : {false, true}) {
    const auto recipe = CompileBuiltIn(two_bits ? "kivi2" : "kivi4");
    ASSERT_TRUE(recipe.ok()) << recipe.status();
    EXPECT_TRUE(recipe->split());
    EXPECT_EQ(recipe->online, OnlinePolicy::kFreeze);
    EXPECT_EQ(recipe->high, two_bits ? FormatId::kChannelK2 : FormatId::kChannelK4);
    EXPECT_EQ(recipe->low, two_bits ? FormatId::kGroupV2 : FormatId::kGroupV4);
    EXPECT_EQ(recipe->window_keys, FormatId::kFullK16);
    EXPECT_EQ(recipe->window_values, FormatId::kFullV16);
    EXPECT_EQ(recipe->window, 32);
    EXPECT_FALSE(recipe->exact() || recipe->token_wise() || recipe->forwards_prefix() || recipe->needs_overlays());
    EXPECT_EQ(recipe->shareable, "full");
  }
}

TEST(SplitProfileTest, WhatCannotBeFrozenIsRefusedByName) {
  const auto refusal = [](const std::function<void(Profile&)>& change) {
    const auto recipe = CompileBuiltIn("kivi4", change);
    EXPECT_EQ(recipe.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(recipe.status().message());
  };
  EXPECT_NE(refusal([](Profile& p) { p.online = "none"; }).find("'window_split'"), std::string::npos);
  EXPECT_FALSE(refusal([](Profile& p) { p.allocate = "all_high"; }).empty());
  EXPECT_NE(refusal([](Profile& p) { p.high = "k4v4"; }).find("high 'k4v4'"), std::string::npos);
  EXPECT_NE(refusal([](Profile& p) { p.low = "k4v2"; }).find("low 'k4v2'"), std::string::npos);
  EXPECT_NE(refusal([](Profile& p) { p.low = "k2_channels"; }).find("low 'k2_channels'"), std::string::npos);
  EXPECT_NE(refusal([](Profile& p) { p.window = 40; }).find("window 40"), std::string::npos);
  EXPECT_NE(refusal([](Profile& p) { p.window = 0; }).find("window 0"), std::string::npos);
  EXPECT_NE(refusal([](Profile& p) { p.hadamard = 64; }).find("hadamard 64"), std::string::npos);
  EXPECT_NE(refusal([](Profile& p) { p.rope = "pre"; }).find("rope 'pre'"), std::string::npos);
}

TEST(SplitProfileTest, QuestReadsBlocksOfIndexedPages) {
  const auto recipe = CompileBuiltIn("quest");
  ASSERT_TRUE(recipe.ok()) << recipe.status();
  EXPECT_EQ(recipe->high, FormatId::kIndexedBf16);
  EXPECT_EQ(recipe->read.tokens, 512);
  EXPECT_EQ(recipe->read.dense_layers, 2);
  EXPECT_FALSE(recipe->exact());
}

}  // namespace
}  // namespace decant
