#include "common/compress/allocate/budget.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "common/base/check.h"
#include "common/compress/allocate/pyramid.h"

namespace decant {
namespace {

// Halvings of the level's interval: below what a double resolves.
constexpr int kLevelSteps = 128;

std::vector<double> AtLevel(const std::vector<double>& shares, double level, int32_t least, int32_t most) {
  std::vector<double> tokens(shares.size());
  for (size_t l = 0; l < shares.size(); ++l) {
    tokens[l] = std::clamp(shares[l] * level, static_cast<double>(least), static_cast<double>(most));
  }
  return tokens;
}

double SumOf(const std::vector<double>& tokens) { return std::accumulate(tokens.begin(), tokens.end(), 0.0); }

// Whole tokens from `least` to `most` in proportion to the shares, `total` in sum where that can be.
std::vector<int32_t> ShareOut(const std::vector<double>& shares, int64_t total, int32_t least, int32_t most) {
  double low = 0;
  double high = 0;
  for (const double share : shares) high = share > 0 ? std::max(high, most / share) : high;
  for (int step = 0; step < kLevelSteps; ++step) {
    const double middle = (low + high) / 2;
    (SumOf(AtLevel(shares, middle, least, most)) < static_cast<double>(total) ? low : high) = middle;
  }
  const std::vector<double> wanted = AtLevel(shares, high, least, most);
  std::vector<int32_t> tokens(shares.size());
  for (size_t l = 0; l < tokens.size(); ++l) tokens[l] = static_cast<int32_t>(wanted[l]);
  std::vector<size_t> order(shares.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return wanted[a] - tokens[a] > wanted[b] - tokens[b]; });
  int64_t missing = total - std::accumulate(tokens.begin(), tokens.end(), int64_t{0});
  for (const size_t l : order) {
    if (missing <= 0) break;
    if (tokens[l] == most || shares[l] == 0) continue;
    ++tokens[l];
    --missing;
  }
  return tokens;
}

}  // namespace

int64_t BudgetTokens(double share, int64_t tokens) {
  if (!(share > 0)) return 0;
  if (share >= 1) return tokens;
  const double millionths = std::round(share * 1e6);
  return std::min(tokens, static_cast<int64_t>(std::floor(millionths * static_cast<double>(tokens) / 1e6 + 0.5)));
}

std::vector<int32_t> LayerBudgets(const Recipe& recipe, int32_t layers, int32_t tokens) {
  DECANT_CHECK_MSG(layers > 0 && tokens >= 0, "%d layers, %d tokens", layers, tokens);
  const auto least = static_cast<int32_t>(std::min<int64_t>(tokens, int64_t{recipe.sinks} + recipe.window));
  const int32_t even = std::max(static_cast<int32_t>(BudgetTokens(recipe.budget, tokens)), least);
  std::vector<int32_t> budgets(static_cast<size_t>(layers), even);
  if (recipe.allocation == Allocation::kPyramid) {
    const auto beta = static_cast<int32_t>(std::clamp(recipe.beta, 1.0f, 1e6f));
    budgets = PyramidLayersExact({even, least, beta}, layers, tokens);
    for (int32_t& budget : budgets) budget = std::min(budget + least, tokens);
  }
  if (recipe.allocation == Allocation::kLayerShares) {
    std::vector<double> shares(recipe.layer_shares.begin(), recipe.layer_shares.end());
    shares.resize(static_cast<size_t>(layers), 1.0);
    budgets = ShareOut(shares, int64_t{even} * layers, least, tokens);
  }
  return budgets;
}

}  // namespace decant
