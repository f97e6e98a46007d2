#include "common/base/half.h"

#include <gtest/gtest.h>

#include <cmath>

namespace decant {
namespace {

TEST(HalfTest, EveryFiniteFp16SurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits < 0x10000u; ++bits) {
    const Fp16 h{static_cast<uint16_t>(bits)};
    if ((bits & 0x7c00u) == 0x7c00u && (bits & 0x3ffu) != 0) continue;  // NaN
    EXPECT_EQ(ToFp16(ToFloat(h)).bits, h.bits);
  }
}

TEST(HalfTest, RoundsToNearestEven) {
  EXPECT_EQ(ToFp16(1.0f + 0x1p-11f).bits, 0x3c00u);      // half way, down to even
  EXPECT_EQ(ToFp16(1.0f + 3 * 0x1p-11f).bits, 0x3c02u);  // half way, up to even
  EXPECT_EQ(ToFp16(0x1p-25f).bits, 0u);                  // half of the smallest subnormal
  EXPECT_EQ(ToFp16(0x1.8p-24f).bits, 2u);
  EXPECT_EQ(ToFp16(65519.0f).bits, 0x7bffu);
  EXPECT_EQ(ToFp16(65520.0f).bits, 0x7c00u);
  EXPECT_EQ(ToBf16(1.0f + 0x1p-8f).bits, 0x3f80u);
  EXPECT_EQ(ToBf16(1.0f + 3 * 0x1p-8f).bits, 0x3f82u);
  EXPECT_TRUE(std::isnan(ToFloat(ToBf16(std::nanf("")))));
  EXPECT_TRUE(std::isnan(ToFloat(ToFp16(std::nanf("")))));
}

}  // namespace
}  // namespace decant
