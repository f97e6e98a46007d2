// How many tokens a recipe's budget is worth, and how layers share them.
#ifndef DECANT_COMMON_COMPRESS_ALLOCATE_BUDGET_H_
#define DECANT_COMMON_COMPRESS_ALLOCATE_BUDGET_H_

#include <cstdint>
#include <vector>

#include "common/compress/recipe.h"

namespace decant {

// The nearest whole number to `share` of `tokens`, halves up, from 0 to `tokens`. The share counts in millionths, so
// that what a float cannot hold moves no token.
int64_t BudgetTokens(double share, int64_t tokens);

// Tokens of a prompt of `tokens` that the better tier of each head of a layer gets, [layers]: sinks and window
// included, which are always in it, so never fewer than those; all of them from budget 1 on.
//
// - kPyramid: allocate/pyramid.h, exact in sum.
// - kLayerShares: in proportion to the recipe's shares (a missing one is 1) and exact in sum: what a layer cannot take,
//   because it holds all its tokens or no less than sinks and window, the others share out.
// - else the same for every layer.
//
// REQUIRES: layers > 0, tokens >= 0.
std::vector<int32_t> LayerBudgets(const Recipe& recipe, int32_t layers, int32_t tokens);

}  // namespace decant

#endif  // DECANT_COMMON_COMPRESS_ALLOCATE_BUDGET_H_
