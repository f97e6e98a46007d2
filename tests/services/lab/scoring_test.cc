#include "services/lab/scoring.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace decant {
namespace {

std::vector<float> Logs(std::vector<float> probabilities) {
  for (float& p : probabilities) p = std::log(p);
  return probabilities;
}

TEST(ScoringTest, ATokenCountsWhenItIsTheFirstOfTheBest) {
  const auto row = Logs({0.2f, 0.4f, 0.4f});
  AnswerScore score;
  AddToken(1, row, row, score);
  AddToken(2, row, row, score);
  EXPECT_EQ(score.tokens, 2);
  EXPECT_EQ(score.right, 1);
  EXPECT_NEAR(score.surprise, -2 * std::log(0.4), 1e-6);
  EXPECT_EQ(score.divergence, 0);
}

}  // namespace
}  // namespace decant
