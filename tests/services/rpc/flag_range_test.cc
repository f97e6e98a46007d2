#include "services/rpc/flag_range.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace decant {
namespace {

using ::testing::HasSubstr;

std::string Parse(const std::string& value, uint64_t& seed) {
  CLI::App cli;
  cli.add_option("--seed", seed)->check(InRange(0, kMostSeed));
  try {
    cli.parse("--seed=" + value, false);
  } catch (const CLI::ParseError& error) {
    return error.what();
  }
  return "";
}

TEST(FlagRangeTest, ASignIsNotAHugeNumber) {
  uint64_t seed = 7;
  EXPECT_THAT(Parse("-1", seed), HasSubstr("--seed: -1 cannot be; it must be a number in [0, "));
  EXPECT_EQ(seed, 7u);
  EXPECT_EQ(Parse("0", seed), "");
  EXPECT_EQ(seed, 0u);
  EXPECT_EQ(Parse("9223372036854775807", seed), "");
  EXPECT_EQ(seed, 9223372036854775807u);
  EXPECT_NE(Parse("99999999999999999999", seed), "");
}

TEST(FlagRangeTest, OnlyNumbersOfTheRangePass) {
  const CLI::Validator range = InRange(0.5, 2);
  for (const char* good : {"0.5", "2", "1e0"}) EXPECT_EQ(range(good), "") << good;
  for (const char* bad : {"0.49", "2.01", "-1", "nan", "inf", "-inf", "", "one", "1x"})
    EXPECT_NE(range(bad), "") << bad;
}

TEST(FlagRangeTest, SizesAreCheckedInBytes) {
  CLI::App cli;
  int64_t bytes = 0;
  cli.add_option("--size", bytes)->transform(CLI::AsSizeValue(false))->check(InRange(1, 4096));
  cli.parse("--size 4KiB", false);
  EXPECT_EQ(bytes, 4096);
  for (const char* bad : {"--size=5KiB", "--size=-1", "--size=-4KiB", "--size=0"}) {
    EXPECT_THROW(cli.parse(bad, false), CLI::ParseError) << bad;
  }
}

}  // namespace
}  // namespace decant
