#include "common/compress/arith/affine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "common/base/random.h"
#include "common/compress/arith/pack.h"

namespace decant {
namespace {

struct Stored {
  AffinePair pair;
  std::vector<uint32_t> codes;
  std::vector<float> values;
};

Stored Quantise(const std::vector<float>& x, int32_t bits) {
  float low = kLargestHalf;
  float high = -kLargestHalf;
  for (const float value : x) {
    low = std::min(low, TameValue(value));
    high = std::max(high, TameValue(value));
  }
  Stored stored;
  stored.pair = FitAffine(low, high, bits);
  const float scale = ToFloat(stored.pair.scale);
  const float zero = ToFloat(stored.pair.zero);
  for (const float value : x) {
    stored.codes.push_back(AffineCode(TameValue(value), zero, InverseScale(scale), bits));
    stored.values.push_back(AffineValue(stored.codes.back(), scale, zero));
  }
  return stored;
}

TEST(AffineTest, ErrorIsHalfAStepAndTheRoundingOfThePair) {
  for (const int32_t bits : {1, 2, 4, 8}) {
    for (uint64_t seed = 0; seed < 200; ++seed) {
      std::vector<float> x(64);
      const float width = std::exp2(static_cast<float>(seed % 16) - 8);
      for (size_t i = 0; i < x.size(); ++i) x[i] = (UniformFloat(seed, i) - 0.3f) * width;
      const auto [low, high] = std::minmax_element(x.begin(), x.end());
      const Stored stored = Quantise(x, bits);
      const float step = (*high - *low) / static_cast<float>(MaxCode(bits));
      // fp16 keeps 11 bits: of zero, and of a scale that counts up to MaxCode times.
      const float rounding = std::max(std::abs(*low), *high - *low) / 2048.0f + 1e-7f;
      for (size_t i = 0; i < x.size(); ++i) {
        EXPECT_LE(std::abs(stored.values[i] - x[i]), step / 2 + rounding * 1.5f) << bits << " seed " << seed;
      }
    }
  }
}

TEST(AffineTest, EndsOfTheRangeGetTheEndCodes) {
  // 0 .. 3 at 2 bits, 0 .. 15 at 4, 0 .. 255 at 8: scale 1, every code exact.
  for (const int32_t bits : {1, 2, 4, 8}) {
    std::vector<float> x;
    for (uint32_t code = 0; code <= MaxCode(bits); ++code) x.push_back(static_cast<float>(code) - 5);
    const Stored stored = Quantise(x, bits);
    for (uint32_t code = 0; code <= MaxCode(bits); ++code) {
      EXPECT_EQ(stored.codes[code], code);
      EXPECT_EQ(stored.values[code], x[code]);
    }
  }
}

TEST(AffineTest, ConstantVectorHasScaleZeroAndCodesZero) {
  const Stored stored = Quantise(std::vector<float>(8, 0.75f), 4);
  EXPECT_EQ(stored.pair.scale.bits, 0);
  for (const uint32_t code : stored.codes) EXPECT_EQ(code, 0u);
  for (const float value : stored.values) EXPECT_EQ(value, 0.75f);
}

TEST(AffineTest, BothZerosAreStoredAlike) {
  EXPECT_EQ(FitAffine(-0.0f, 1.0f, 8).zero.bits, FitAffine(0.0f, 1.0f, 8).zero.bits);
}

TEST(AffineTest, CodesClampWhereTheRoundedScaleIsTooSmall) {
  // The largest value lies beyond scale * MaxCode + zero once scale is rounded down: its code must not wrap.
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    const std::vector<float> x = {0.0f, 1.0f + UniformFloat(seed, 0), UniformFloat(seed, 1)};
    for (const int32_t bits : {2, 4, 8}) EXPECT_EQ(Quantise(x, bits).codes[1], MaxCode(bits));
  }
}

TEST(AffineTest, ValuesBeyondFp16SaturateAndNanIsZero) {
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const int32_t bits : {1, 2, 4, 8}) {
    const Stored stored = Quantise({-infinity, 1e30f, nan, 1.0f, -70000.0f, infinity, 0.0f, 2.0f}, bits);
    EXPECT_EQ(ToFloat(stored.pair.zero), -kLargestHalf);
    EXPECT_EQ(stored.codes[0], 0u);
    EXPECT_EQ(stored.codes[1], MaxCode(bits));
    EXPECT_EQ(stored.codes[2], stored.codes[6]);
    EXPECT_EQ(stored.codes[4], 0u);
    for (const float value : stored.values) EXPECT_TRUE(std::isfinite(value));
    for (const float value : Quantise(std::vector<float>(8, nan), bits).values) EXPECT_EQ(value, 0.0f);
  }
}

TEST(AffineTest, TinyRangeAroundALargeValueStaysFinite) {
  const Stored stored = Quantise({1000.3f, 1000.3f + 6e-5f, 1000.3f, 1000.3f}, 8);
  for (const float value : stored.values) EXPECT_NEAR(value, 1000.3f, 0.5f);
}

// D11: the released code's (q - 9) / 17 + 1 and (q - 3) / 5 + 1 are off by one at q = 9 and q = 3.
TEST(AffineTest, AMinimumBelowItsRoundedZeroHasCodeZero) {
  // fp16 has steps of 1/16 at 100: 100.04 rounds up by more than half of a code.
  const Stored stored = Quantise({100.04f, 100.2f, 100.5f}, 4);
  EXPECT_GT(ToFloat(stored.pair.zero), 100.04f);
  EXPECT_EQ(stored.codes[0], 0u);
}

TEST(AffineTest, D11RequantisationIsExactForEveryCode) {
  for (uint32_t q = 0; q < 256; ++q) {
    EXPECT_EQ(Requantise8To4(q), static_cast<uint32_t>(std::lround(q * 15.0 / 255.0))) << q;
  }
  for (uint32_t q = 0; q < 16; ++q) {
    EXPECT_EQ(Requantise4To2(q), static_cast<uint32_t>(std::lround(q * 3.0 / 15.0))) << q;
  }
}

TEST(PackTest, ElementZeroIsInTheLowestBits) {
  const uint8_t codes[8] = {1, 2, 3, 0, 3, 2, 1, 0};
  uint8_t packed[8] = {};
  PackCodes(codes, 8, 2, packed);
  EXPECT_EQ(packed[0], 1 | 2 << 2 | 3 << 4);
  EXPECT_EQ(packed[1], 3 | 2 << 2 | 1 << 4);
  PackCodes(codes, 8, 4, packed);
  EXPECT_EQ(packed[0], 1 | 2 << 4);
  EXPECT_EQ(packed[3], 1);
}

TEST(PackTest, ComesBackAtEveryWidth) {
  for (const int32_t bits : {1, 2, 4, 8}) {
    for (const int32_t count : {8, 16, 40, 64, 128, 256}) {
      std::vector<uint8_t> codes(static_cast<size_t>(count));
      for (size_t i = 0; i < codes.size(); ++i) {
        codes[i] = static_cast<uint8_t>(MixBits(static_cast<uint64_t>(bits), i) & MaxCode(bits));
      }
      std::vector<uint8_t> packed(static_cast<size_t>(count * bits / 8) + 1, 0xee);
      PackCodes(codes.data(), count, bits, packed.data());
      EXPECT_EQ(packed.back(), 0xee);
      for (size_t i = 0; i < codes.size(); ++i) {
        const size_t bit = i * static_cast<size_t>(bits);
        EXPECT_EQ((packed[bit / 8] >> (bit % 8)) & static_cast<int>(MaxCode(bits)), codes[i]);
      }
      std::vector<uint8_t> back(codes.size());
      UnpackCodes(packed.data(), count, bits, back.data());
      EXPECT_EQ(back, codes);
    }
  }
}

// The bits that codes of so many levels are packed in.
int32_t BitsFor(int32_t levels) { return levels <= 2 ? 1 : levels <= 4 ? 2 : levels <= 16 ? 4 : 8; }

TEST(AffineLevelsTest, AllLevelsOfTheBitsEqualTheBits) {
  for (const int32_t bits : {1, 2, 4, 8}) {
    for (uint64_t seed = 0; seed < 500; ++seed) {
      const float low = (UniformFloat(seed, 0) - 0.5f) * std::exp2(static_cast<float>(seed % 30) - 15);
      const float high = low + UniformFloat(seed, 1) * std::exp2(static_cast<float>(seed % 20) - 10);
      const AffinePair by_bits = FitAffine(low, high, bits);
      const AffinePair by_levels = FitAffine(low, high, bits, 1 << bits);
      ASSERT_EQ(by_levels.scale.bits, by_bits.scale.bits);
      ASSERT_EQ(by_levels.zero.bits, by_bits.zero.bits);
      const float inverse = InverseScale(ToFloat(by_bits.scale));
      const float zero = ToFloat(by_bits.zero);
      for (uint64_t i = 2; i < 20; ++i) {
        const float x = low + (high - low) * (UniformFloat(seed, i) * 1.2f - 0.1f);
        ASSERT_EQ(AffineCode(x, zero, inverse, bits, 1 << bits), AffineCode(x, zero, inverse, bits));
      }
    }
  }
}

TEST(AffineLevelsTest, EveryNumberOfLevelsUsesItsEndsAndErrsByHalfAStep) {
  for (int32_t levels = 2; levels <= 256; ++levels) {
    const int32_t bits = BitsFor(levels);
    const auto last = static_cast<uint32_t>(levels - 1);
    std::vector<float> x(40);
    for (size_t i = 0; i < x.size(); ++i) x[i] = UniformFloat(static_cast<uint64_t>(levels), i) * 6 - 2;
    const auto [low, high] = std::minmax_element(x.begin(), x.end());
    const AffinePair pair = FitAffine(*low, *high, bits, levels);
    const float scale = ToFloat(pair.scale);
    const float zero = ToFloat(pair.zero);
    const float step = (*high - *low) / static_cast<float>(last);
    EXPECT_EQ(AffineCode(*low, zero, InverseScale(scale), bits, levels), 0u);
    EXPECT_EQ(AffineCode(*high, zero, InverseScale(scale), bits, levels), last);
    EXPECT_EQ(AffineCode(*high + step, zero, InverseScale(scale), bits, levels), last);
    for (const float value : x) {
      const uint32_t code = AffineCode(value, zero, InverseScale(scale), bits, levels);
      EXPECT_LE(code, last);
      EXPECT_LE(std::abs(AffineValue(code, scale, zero) - value), step / 2 + 6.0f / 1024) << levels;
    }
  }
}

TEST(AffineLevelsTest, ConstantGroupsNanAndInfinityStayInRange) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const int32_t levels : {2, 3, 7, 100, 255}) {
    const int32_t bits = BitsFor(levels);
    const AffinePair constant = FitAffine(0.75f, 0.75f, bits, levels);
    EXPECT_EQ(constant.scale.bits, 0);
    EXPECT_EQ(AffineCode(0.75f, 0.75f, InverseScale(0), bits, levels), 0u);
    const AffinePair wide = FitAffine(TameValue(-infinity), TameValue(infinity), bits, levels);
    EXPECT_TRUE(std::isfinite(ToFloat(wide.scale)));
    const float inverse = InverseScale(ToFloat(FitAffine(-1, 1, bits, levels).scale));
    for (const float x : {std::numeric_limits<float>::quiet_NaN(), infinity, -infinity, 1e30f}) {
      EXPECT_LT(AffineCode(TameValue(x), -1, inverse, bits, levels), static_cast<uint32_t>(levels));
    }
  }
}

}  // namespace
}  // namespace decant
