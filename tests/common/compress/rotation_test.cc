#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "common/base/random.h"
#include "common/compress/arith/affine.h"
#include "common/compress/arith/balance.h"
#include "common/compress/arith/hadamard.h"

namespace decant {
namespace {

using Floats = std::vector<float>;

float Normal(uint64_t seed, uint64_t i) {
  const float u = 1.0f - UniformFloat(seed, 2 * i);
  return std::sqrt(-2 * std::log(u)) * std::cos(6.2831853f * UniformFloat(seed, 2 * i + 1));
}

Floats Normals(uint64_t seed, size_t count) {
  Floats values(count);
  for (size_t i = 0; i < count; ++i) values[i] = Normal(seed, i);
  return values;
}

double Dot(const Floats& a, const Floats& b) {
  double dot = 0;
  for (size_t i = 0; i < a.size(); ++i) dot += double{a[i]} * b[i];
  return dot;
}

double Norm(const Floats& a) { return std::sqrt(Dot(a, a)); }

TEST(HadamardTest, OrdersArePowersOfTwoThatDivideTheHead) {
  for (const int32_t order : {1, 2, 4, 16, 64}) EXPECT_TRUE(IsHadamardOrder(order, 64));
  for (const int32_t order : {-4, 0, 3, 24, 128}) EXPECT_FALSE(IsHadamardOrder(order, 64));
  EXPECT_TRUE(IsHadamardOrder(32, 96));
  EXPECT_FALSE(IsHadamardOrder(64, 96));
}

TEST(HadamardTest, ScaleIsTheRootForEveryOrder) {
  for (int32_t order = 1; order <= 256; order *= 2)
    EXPECT_FLOAT_EQ(HadamardScale(order), 1 / std::sqrt(static_cast<float>(order)));
}

// Entry (i, j) of Sylvester's matrix is -1 to the number of ones that i and j share.
TEST(HadamardTest, EqualsTheDenseBlockMatrixAndIsItsOwnInverse) {
  for (const int32_t head_dim : {8, 32, 64, 96, 128, 256}) {
    for (int32_t order = 1; order <= head_dim; order *= 2) {
      if (!IsHadamardOrder(order, head_dim)) continue;
      const Floats x = Normals(static_cast<uint64_t>(order), static_cast<size_t>(head_dim));
      Floats rotated = x;
      RotateHadamard(rotated.data(), head_dim, order);
      for (int32_t i = 0; i < head_dim; ++i) {
        double expected = 0;
        for (int32_t j = 0; j < order; ++j) {
          const bool odd = __builtin_popcount(static_cast<uint32_t>((i % order) & j)) % 2 != 0;
          const double value = x[static_cast<size_t>(i / order * order + j)];
          expected += odd ? -value : value;
        }
        EXPECT_NEAR(rotated[static_cast<size_t>(i)], expected / std::sqrt(order), 2e-6)
            << head_dim << " order " << order;
      }
      EXPECT_NEAR(Norm(rotated), Norm(x), 1e-5 * Norm(x));
      RotateHadamard(rotated.data(), head_dim, order);
      for (size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(rotated[i], x[i], 3e-6);
    }
  }
}

// Test (e) of the methods' reference.
TEST(HadamardTest, ProductsOfQueriesAndKeysStay) {
  for (const int32_t order : {16, 64, 128}) {
    for (uint64_t seed = 0; seed < 100; ++seed) {
      Floats q = Normals(seed, 128);
      Floats k = Normals(seed + 1000, 128);
      k[5] += 12;
      const double before = Dot(q, k);
      const double size = Norm(q) * Norm(k);
      RotateHadamard(q.data(), 128, order);
      RotateHadamard(k.data(), 128, order);
      EXPECT_NEAR(Dot(q, k), before, 1e-5 * size / 10);
    }
  }
}

double Int4Error(const Floats& x, const Floats& wanted, int32_t order) {
  const auto [low, high] = std::minmax_element(x.begin(), x.end());
  const AffinePair pair = FitAffine(*low, *high, 4);
  const float scale = ToFloat(pair.scale);
  Floats stored = x;
  for (float& value : stored) {
    value = AffineValue(AffineCode(value, ToFloat(pair.zero), InverseScale(scale), 4), scale, ToFloat(pair.zero));
  }
  RotateHadamard(stored.data(), static_cast<int32_t>(stored.size()), order);
  double error = 0;
  for (size_t i = 0; i < stored.size(); ++i) error += (double{stored[i]} - wanted[i]) * (double{stored[i]} - wanted[i]);
  return error;
}

// Test (b), set A: 300 keys of 128 channels, two of which are outliers, relative to the variance around the channel
// means.
TEST(HadamardTest, RotationLowersTheErrorOfFourBitKeysWithOutliers) {
  double error[4] = {};
  double energy = 0;
  const int32_t orders[4] = {1, 16, 64, 128};
  for (uint64_t t = 0; t < 300; ++t) {
    Floats key = Normals(t, 128);
    for (const float x : key) energy += double{x} * x;
    key[5] += 12;
    key[70] += 12;
    for (int i = 0; i < 4; ++i) {
      Floats rotated = key;
      RotateHadamard(rotated.data(), 128, orders[i]);
      error[i] += Int4Error(rotated, key, orders[i]);
    }
  }
  for (double& e : error) e /= energy;
  // Published shape: 0.0257, 0.0103, 0.0065, 0.0079 of all energy, outliers included: the ratios are what carries over.
  EXPECT_LT(error[1], error[0] / 2);
  EXPECT_LT(error[2], error[1]);
  EXPECT_LT(error[3], error[1]);
  EXPECT_LT(error[2], error[0] / 3);
  EXPECT_GT(error[2], error[0] / 8);
}

TEST(BalanceTest, FactorIsTheRootOfTheRatioAndOneWhereThereIsNone) {
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(ToFloat(FitBalance(4, 1)), 2);
  EXPECT_EQ(ToFloat(FitBalance(1, 4)), 0.5f);
  for (const float bad : {0.0f, -1.0f, infinity, -infinity, nan}) {
    EXPECT_EQ(ToFloat(FitBalance(bad, 2)), 1);
    EXPECT_EQ(ToFloat(FitBalance(2, bad)), 1);
  }
  // Ratios beyond the numbers that hold them.
  for (const float tiny : {1e-38f, 1e-30f, 1e-12f}) {
    EXPECT_EQ(ToFloat(FitBalance(1e30f, tiny)), 65504);
    EXPECT_EQ(ToFloat(FitBalance(tiny, 1e30f)), 6.103515625e-5f);
  }
}

// Test (e) for the balancer.
TEST(BalanceTest, ProductsStayAndOutliersOfKeysShrink) {
  constexpr size_t kDim = 64;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    Floats q = Normals(seed, kDim);
    Floats k = Normals(seed + 500, kDim);
    k[9] *= 100;
    k[11] = 0;
    q[12] = 0;
    Floats balance(kDim);
    for (size_t c = 0; c < kDim; ++c) balance[c] = ToFloat(FitBalance(std::abs(q[c]), std::abs(k[c])));
    EXPECT_EQ(balance[11], 1);
    EXPECT_EQ(balance[12], 1);
    const double before = Dot(q, k);
    const double size = Norm(q) * Norm(k);
    const float outlier = std::abs(k[9]);
    BalanceKey(balance.data(), kDim, k.data());
    BalanceQuery(balance.data(), kDim, q.data());
    EXPECT_NEAR(Dot(q, k), before, 1e-5 * size / 10);
    EXPECT_NEAR(std::abs(k[9]), std::abs(q[9]), 2e-3 * std::abs(k[9]));
    if (outlier > 10) {
      EXPECT_LT(std::abs(k[9]), outlier);
    }
  }
}

}  // namespace
}  // namespace decant
