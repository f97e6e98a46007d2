#include "common/model/log_probabilities.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace decant {
namespace {

std::vector<float> Logs(std::vector<float> probabilities) {
  for (float& p : probabilities) p = std::log(p);
  return probabilities;
}

TEST(LogProbabilitiesTest, LogSoftmaxIsShiftedLogits) {
  std::vector<float> row = {1000, 1000, 1000 + std::log(2.0f)};
  LogSoftmax(absl::MakeSpan(row));
  EXPECT_NEAR(row[0], std::log(0.25), 1e-4);
  EXPECT_NEAR(row[2], std::log(0.5), 1e-4);
}

TEST(LogProbabilitiesTest, DivergenceIsTheSumOverProbabilities) {
  const auto p = Logs({0.5f, 0.25f, 0.25f}), q = Logs({0.25f, 0.25f, 0.5f});
  EXPECT_NEAR(Divergence(p, q), 0.5 * std::log(2.0) - 0.25 * std::log(2.0), 1e-6);
  EXPECT_EQ(Divergence(p, p), 0);
}

}  // namespace
}  // namespace decant
