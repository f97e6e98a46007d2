#include "common/compress/arith/levels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "common/base/random.h"

namespace decant {
namespace {

TEST(LevelsTest, PowersOfTwoEqualTheBitsForm) {
  for (const int32_t bits : {2, 4, 8}) {
    for (uint64_t seed = 0; seed < 500; ++seed) {
      const float low = (UniformFloat(seed, 0) - 0.5f) * std::exp2(static_cast<float>(seed % 30) - 15);
      const float high = low + UniformFloat(seed, 1) * std::exp2(static_cast<float>(seed % 20) - 10);
      const AffinePair by_bits = FitAffine(low, high, bits);
      const AffinePair by_levels = FitLevels(low, high, 1 << bits);
      ASSERT_EQ(by_levels.scale.bits, by_bits.scale.bits);
      ASSERT_EQ(by_levels.zero.bits, by_bits.zero.bits);
      const float inverse = InverseScale(ToFloat(by_bits.scale));
      const float zero = ToFloat(by_bits.zero);
      for (uint64_t i = 2; i < 20; ++i) {
        const float x = low + (high - low) * (UniformFloat(seed, i) * 1.2f - 0.1f);
        ASSERT_EQ(LevelCode(x, zero, inverse, 1 << bits), AffineCode(x, zero, inverse, bits));
      }
    }
  }
}

TEST(LevelsTest, EveryNumberOfLevelsUsesItsEndsAndErrsByHalfAStep) {
  for (int32_t levels = kFewestLevels; levels <= kMostLevels; ++levels) {
    const uint32_t last = static_cast<uint32_t>(levels - 1);
    EXPECT_LE(levels, 1 << BitsOfLevels(levels));
    EXPECT_TRUE(levels == 2 || levels > 1 << (BitsOfLevels(levels) / 2)) << levels;
    std::vector<float> x(40);
    for (size_t i = 0; i < x.size(); ++i) x[i] = UniformFloat(static_cast<uint64_t>(levels), i) * 6 - 2;
    const auto [low, high] = std::minmax_element(x.begin(), x.end());
    const AffinePair pair = FitLevels(*low, *high, levels);
    const float scale = ToFloat(pair.scale);
    const float zero = ToFloat(pair.zero);
    const float step = (*high - *low) / static_cast<float>(last);
    EXPECT_EQ(LevelCode(*low, zero, InverseScale(scale), levels), 0u);
    EXPECT_EQ(LevelCode(*high, zero, InverseScale(scale), levels), last);
    for (const float value : x) {
      const uint32_t code = LevelCode(value, zero, InverseScale(scale), levels);
      EXPECT_LE(code, last);
      EXPECT_LE(std::abs(AffineValue(code, scale, zero) - value), step / 2 + 6.0f / 1024) << levels;
    }
  }
}

TEST(LevelsTest, ConstantGroupsNanAndInfinityStayInRange) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const int32_t levels : {2, 3, 7, 100, 255}) {
    const AffinePair constant = FitLevels(0.75f, 0.75f, levels);
    EXPECT_EQ(constant.scale.bits, 0);
    EXPECT_EQ(LevelCode(0.75f, 0.75f, InverseScale(0), levels), 0u);
    const AffinePair wide = FitLevels(TameValue(-infinity), TameValue(infinity), levels);
    EXPECT_TRUE(std::isfinite(ToFloat(wide.scale)));
    const float inverse = InverseScale(ToFloat(FitLevels(-1, 1, levels).scale));
    for (const float x : {std::numeric_limits<float>::quiet_NaN(), infinity, -infinity, 1e30f}) {
      EXPECT_LT(LevelCode(TameValue(x), -1, inverse, levels), static_cast<uint32_t>(levels));
    }
  }
}

}  // namespace
}  // namespace decant
