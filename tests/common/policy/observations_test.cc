#include "common/policy/observations.h"

#include <limits>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace decant {
namespace {

Observation Cold() {
  Observation seen;
  seen.profile = "diffkv";
  seen.prefill = "p";
  seen.decode = "d";
  seen.prompt_tokens = 1000;
  seen.tokens_computed = 1000;
  seen.compute_ms = 500;
  seen.encode_ms = 10;
  seen.wire_ms = 100;
  seen.wire_bytes = 1'000'000;
  seen.full_bytes = 4'000'000;
  return seen;
}

TEST(ObservationsTest, AnswersWithWhatWasStatedUntilSomethingWasSeen) {
  const Observations none;
  EXPECT_EQ(none.PrefillTokensPerS("p", 123), 123);
  EXPECT_EQ(none.PrefillTokensPerS("p", 0), 0);
  EXPECT_EQ(none.EncodeBytesPerS("diffkv", 5), 5);
  EXPECT_EQ(none.LinkBitsPerS("diffkv", "p", "d", 0), 0);
}

TEST(ObservationsTest, FillsInWhatNobodyStated) {
  Observations seen;
  seen.Add(Cold());
  EXPECT_DOUBLE_EQ(seen.PrefillTokensPerS("p", 0), 2000);
  EXPECT_DOUBLE_EQ(seen.LinkBitsPerS("diffkv", "p", "d", 0), 8e7);
  EXPECT_EQ(seen.LinkBitsPerS("diffkv", "p", "e", 0), 0);
  EXPECT_EQ(seen.LinkBitsPerS("full", "p", "d", 0), 0);
}

TEST(ObservationsTest, BelievesAStatedLinkRate) {
  Observations seen;
  seen.Add(Cold());
  EXPECT_EQ(seen.LinkBitsPerS("diffkv", "p", "d", 1e6), 1e6);
}

TEST(ObservationsTest, CorrectsConstantsWithinBounds) {
  Observations seen;
  seen.Add(Cold());
  EXPECT_DOUBLE_EQ(seen.WireRatio("diffkv", 3), 4);
  EXPECT_DOUBLE_EQ(seen.WireRatio("diffkv", 1), 2);
  EXPECT_DOUBLE_EQ(seen.WireRatio("diffkv", 100), 50);
  EXPECT_DOUBLE_EQ(seen.EncodeBytesPerS("diffkv", 3e8), 4e8);
  EXPECT_DOUBLE_EQ(seen.EncodeBytesPerS("k8v4", 3e8), 3e8);
}

TEST(ObservationsTest, AveragesWithWeight) {
  Observations seen;
  seen.Add(Cold());
  Observation faster = Cold();
  faster.compute_ms = 250;
  seen.Add(faster);
  EXPECT_DOUBLE_EQ(seen.PrefillTokensPerS("p", 0), 2000 + 0.3 * 2000);
}

TEST(ObservationsTest, LearnsNoRatioBehindAReusedPrefix) {
  Observations seen;
  Observation warm = Cold();
  warm.tokens_computed = 600;
  seen.Add(warm);
  EXPECT_EQ(seen.WireRatio("diffkv", 3), 3);
  EXPECT_EQ(seen.EncodeBytesPerS("diffkv", 3e8), 3e8);
  EXPECT_DOUBLE_EQ(seen.PrefillTokensPerS("p", 0), 1200);
}

TEST(ObservationsTest, LearnsNoRatesFromAShortPrompt) {
  Observations seen;
  Observation brief = Cold();
  brief.prompt_tokens = brief.tokens_computed = 511;
  seen.Add(brief);
  EXPECT_EQ(seen.WireRatio("diffkv", 3), 3);
  EXPECT_EQ(seen.PrefillTokensPerS("p", 0), 0);
}

TEST(ObservationsTest, IgnoresNonsense) {
  Observations seen;
  for (const double bad : {0.0, -1.0, std::numeric_limits<double>::quiet_NaN()}) {
    Observation odd = Cold();
    odd.compute_ms = odd.encode_ms = odd.wire_ms = bad;
    odd.wire_bytes = -5;
    seen.Add(odd);
  }
  Observation empty;
  seen.Add(empty);
  EXPECT_EQ(seen.PrefillTokensPerS("p", 7), 7);
  EXPECT_EQ(seen.WireRatio("diffkv", 3), 3);
}

TEST(ObservationsTest, KeepsABoundedNumberOfNames) {
  Observations seen;
  for (size_t i = 0; i < Observations::kMostLinks + 10; ++i) {
    Observation o = Cold();
    o.prefill = absl::StrCat("p", i);
    seen.Add(o);
  }
  EXPECT_GT(seen.PrefillTokensPerS("p0", 0), 0);
  EXPECT_EQ(seen.PrefillTokensPerS(absl::StrCat("p", Observations::kMostLinks + 5), 0), 0);
}

}  // namespace
}  // namespace decant
