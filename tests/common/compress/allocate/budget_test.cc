#include "common/compress/allocate/budget.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "common/compress/allocate/pyramid.h"

namespace decant {
namespace {

int64_t Sum(const std::vector<int32_t>& budgets) { return std::accumulate(budgets.begin(), budgets.end(), int64_t{0}); }

Recipe RecipeOf(Allocation allocation, float budget, int32_t sinks, int32_t window) {
  Recipe recipe;
  recipe.allocation = allocation;
  recipe.budget = budget;
  recipe.sinks = sinks;
  recipe.window = window;
  return recipe;
}

TEST(BudgetTest, RoundsToTheNearestHalvesUp) {
  EXPECT_EQ(BudgetTokens(0.7f, 1000), 700);  // 699.9999... as a float
  EXPECT_EQ(BudgetTokens(0.3f, 5), 2);       // 1.5
  EXPECT_EQ(BudgetTokens(0.7f, 5), 4);       // 3.5, a float below
  EXPECT_EQ(BudgetTokens(0.1f, 4), 0);
  EXPECT_EQ(BudgetTokens(0.1f, 14), 1);
  EXPECT_EQ(BudgetTokens(0, 100), 0);
  EXPECT_EQ(BudgetTokens(-1, 100), 0);
  EXPECT_EQ(BudgetTokens(1, 100), 100);
  EXPECT_EQ(BudgetTokens(7, 100), 100);
  EXPECT_EQ(BudgetTokens(0.5f, 0), 0);
  EXPECT_EQ(BudgetTokens(0.5f, int64_t{1} << 40), int64_t{1} << 39);
}

TEST(BudgetTest, SinksAndWindowAreAlwaysInIt) {
  const Recipe recipe = RecipeOf(Allocation::kTop, 0.1f, 4, 8);
  for (const int32_t tokens : {0, 1, 7, 8, 9, 11, 12, 13, 119}) {
    EXPECT_EQ(LayerBudgets(recipe, 2, tokens), std::vector<int32_t>(2, std::min(tokens, 12))) << tokens;
  }
  EXPECT_EQ(LayerBudgets(recipe, 2, 125), std::vector<int32_t>(2, 13));
  EXPECT_EQ(LayerBudgets(RecipeOf(Allocation::kTop, 1, 4, 8), 1, 125), std::vector<int32_t>{125});
}

TEST(BudgetTest, APyramidIsExactInSumAndNeverRises) {
  for (const int32_t layers : {1, 2, 6, 32}) {
    for (const int32_t tokens : {1, 8, 9, 100, 1001, 8000}) {
      for (const float budget : {0.01f, 0.05f, 0.2f, 0.5f, 0.9f, 1.0f}) {
        const Recipe recipe = RecipeOf(Allocation::kPyramid, budget, 0, 8);
        const std::vector<int32_t> budgets = LayerBudgets(recipe, layers, tokens);
        const int64_t even = std::max(BudgetTokens(budget, tokens), int64_t{std::min(tokens, 8)});
        EXPECT_EQ(Sum(budgets), even * layers) << layers << " layers, " << tokens << " tokens, " << budget;
        EXPECT_TRUE(std::is_sorted(budgets.rbegin(), budgets.rend()));
        EXPECT_LE(budgets.front(), tokens);
        EXPECT_GE(budgets.back(), std::min(tokens, 8));
      }
    }
  }
}

TEST(BudgetTest, ThePublishedPyramid) {
  // L 32, w 8, N 8000, cap 128: 234 past tokens at the bottom; the release's top of 17 is 6 where the line ends.
  const std::vector<int32_t> budgets = LayerBudgets(RecipeOf(Allocation::kPyramid, 0.016f, 0, 8), 32, 8000);
  EXPECT_EQ(budgets.front(), 234 + 8);
  EXPECT_EQ(budgets.back(), 6 + 8);
  EXPECT_EQ(Sum(budgets), 128 * 32);
  // Below the gate of 2 (cap - w) every layer gets the same.
  EXPECT_EQ(LayerBudgets(RecipeOf(Allocation::kPyramid, 128 / 239.0f, 0, 8), 32, 239), std::vector<int32_t>(32, 128));
}

TEST(BudgetTest, LayerSharesAreExactInSum) {
  Recipe recipe = RecipeOf(Allocation::kLayerShares, 0.2f, 4, 1);
  recipe.layer_shares = {3.6f, 2.0f, 0.1f, 0.05f, 0.0f, 0.25f};
  for (const int32_t tokens : {1, 4, 5, 6, 50, 333, 2000}) {
    for (const float budget : {0.0f, 0.01f, 0.2f, 0.6f, 1.0f}) {
      recipe.budget = budget;
      const std::vector<int32_t> budgets = LayerBudgets(recipe, 6, tokens);
      const int64_t even = std::max(BudgetTokens(budget, tokens), int64_t{std::min(tokens, 5)});
      // A layer of share 0 keeps no more than it must, so all others may be full.
      const int64_t most = 5 * int64_t{tokens} + std::min(tokens, 5);
      EXPECT_EQ(Sum(budgets), std::min(even * 6, most)) << tokens << " tokens, " << budget;
      for (const int32_t kept : budgets) {
        EXPECT_GE(kept, std::min(tokens, 5));
        EXPECT_LE(kept, tokens);
      }
    }
  }
  // No clamp in the way: in proportion.
  recipe.budget = 0.1f;
  recipe.layer_shares = {3, 2, 0.5f, 0.5f};
  recipe.sinks = 0;
  EXPECT_EQ(LayerBudgets(recipe, 4, 1000), (std::vector<int32_t>{200, 134, 33, 33}));
  // Without shares the same for every layer.
  recipe.layer_shares.clear();
  EXPECT_EQ(LayerBudgets(recipe, 3, 1000), std::vector<int32_t>(3, 100));
}

}  // namespace
}  // namespace decant
