// Attention over keys in every form, and the scores that each online policy collects.
#include <gtest/gtest.h>

#include <cmath>

#include "gpu/kernels/attention/decode_attention.h"
#include "hwy/targets.h"
#include "tests/gpu/kernels/attention/paged_batch.h"
#include "tests/support/test_device.h"

namespace decant {
namespace {

constexpr double kTolerance = 4e-5;  // as without forms, and the rounding of a balancer's quotients

constexpr KeyForm kPlain = {1, 0, 0};
constexpr KeyForm kBeforeRope = {0, 0, 0};

// The largest difference of output and scores to the reference.
double Difference(Device& device, const Geometry& geometry, const std::vector<TestSequence>& sequences) {
  PagedBatch batch(device, geometry, 8192, sequences, 7);
  const std::vector<float> expected = batch.Reference();
  const std::vector<float> actual = batch.Attend();
  double largest = batch.LargestScoreDifference();
  for (size_t i = 0; i < actual.size(); ++i) {
    const double difference = std::abs(static_cast<double>(actual[i]) - expected[i]);
    if (!(difference <= largest)) largest = std::isnan(difference) ? INFINITY : difference;
  }
  return largest;
}

TestSequence InForm(FormatId format, const KeyForm& form, int32_t tokens) {
  TestSequence sequence;
  sequence.formats[kHigh] = format;
  sequence.tokens = {{tokens, 0, 0, 0}};
  sequence.key_forms[kHigh] = form;
  return sequence;
}

class KeyFormsTest : public testing::TestWithParam<FormatId> {};

TEST_P(KeyFormsTest, HadamardAndBalanceChangeNoProduct) {
  const auto device = CreateTestDevice(2);
  for (const int32_t head_dim : {64, 96, 128, 256}) {
    for (const int32_t group : {1, 3}) {
      for (const uint8_t hadamard : {uint8_t{0}, uint8_t{1}, uint8_t{4}, uint8_t{5}}) {
        for (const uint8_t balanced : {uint8_t{0}, uint8_t{1}}) {
          const KeyForm form{1, hadamard, balanced};
          EXPECT_LT(Difference(*device, Geometry{1, 2 * group, 2, head_dim}, {InForm(GetParam(), form, 61)}),
                    kTolerance)
              << "head_dim " << head_dim << " group " << group << " Hadamard 2^" << int{hadamard} << " balanced "
              << int{balanced};
        }
      }
    }
  }
}

TEST_P(KeyFormsTest, KeysBeforeRopeAreRotatedToTheirPositions) {
  const auto device = CreateTestDevice(2);
  for (const int32_t head_dim : {32, 40, 56, 64, 72, 96, 128, 232, 256}) {
    for (const int32_t group : {1, 3}) {
      for (const int32_t tokens : {1, 15, 16, 17, 150}) {
        EXPECT_LT(Difference(*device, Geometry{1, 2 * group, 2, head_dim}, {InForm(GetParam(), kBeforeRope, tokens)}),
                  kTolerance)
            << "head_dim " << head_dim << " group " << group << " tokens " << tokens;
      }
    }
  }
}

TEST_P(KeyFormsTest, KeysBeforeRopeAreRotatedOnEveryVectorWidth) {
  const auto device = CreateTestDevice(2);
  const int64_t supported = hwy::SupportedTargets();
  for (int64_t targets = supported; targets != 0; targets &= targets - 1) {
    hwy::SetSupportedTargetsForTest(targets);
    hwy::GetChosenTarget().DeInit();
    for (const int32_t head_dim : {40, 64, 128}) {
      EXPECT_LT(Difference(*device, Geometry{1, 4, 2, head_dim}, {InForm(GetParam(), kBeforeRope, 77)}), kTolerance)
          << hwy::TargetName(targets & -targets) << " head_dim " << head_dim;
    }
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().DeInit();
}

INSTANTIATE_TEST_SUITE_P(Formats, KeyFormsTest,
                         testing::Values(FormatId::kFullF32, FormatId::kTrackedBf16, FormatId::kK8V4, FormatId::kK4V4,
                                         FormatId::kK4V2));

// A prefix that was forwarded plain stands beside what the sequence keeps in its own form, in one row and one head.
TEST(KeyFormTiersTest, EveryTierHasItsOwnForm) {
  const auto device = CreateTestDevice(2);
  TestSequence sequence;
  sequence.formats = {FormatId::kK4V4, FormatId::kK4V2, FormatId::kK8V4, FormatId::kNone};
  for (const KeyForm& form : {KeyForm{1, 6, 0}, KeyForm{1, 4, 1}, kBeforeRope}) {
    sequence.key_forms = {form, form, kPlain, kPlain};
    sequence.tokens = {{40, 21, 64, 0}, {3, 0, 64, 0}, {0, 5, 0, 0}};
    EXPECT_LT(Difference(*device, Geometry{1, 6, 3, 64}, {sequence, InForm(FormatId::kK4V4, kPlain, 33)}), kTolerance);
  }
}

// Two formats that are the same in two tiers differ in their form only.
TEST(KeyFormTiersTest, TiersOfOneFormatInTwoForms) {
  const auto device = CreateTestDevice(1);
  TestSequence sequence;
  sequence.formats = {FormatId::kK4V4, FormatId::kNone, FormatId::kK4V4, FormatId::kNone};
  sequence.key_forms = {KeyForm{1, 6, 0}, kPlain, kPlain, kPlain};
  sequence.tokens = {{20, 0, 20, 0}};
  EXPECT_LT(Difference(*device, Geometry{1, 2, 1, 64}, {sequence}), kTolerance);
}

// Test (n) of the methods' list, the kernel's part: sinks stand right before the recent tokens.
TEST(KeyFormTiersTest, SinksAreReadAtTheirPlaceInTheCache) {
  const auto device = CreateTestDevice(2);
  for (const int32_t length : {40, 41, 300, 599}) {
    TestSequence sequence = InForm(FormatId::kTrackedF32, kBeforeRope, 40);
    sequence.policy = OnlinePolicy::kSinksAndRecent;
    sequence.sinks = 4;
    sequence.length = length;
    EXPECT_LT(Difference(*device, Geometry{1, 4, 2, 64}, {sequence}), kTolerance) << length;
  }
}

// A head that is cut between threads places its tokens as a whole one does.
TEST(KeyFormTiersTest, LongHeadsAreCut) {
  const auto device = CreateTestDevice(4);
  for (const FormatId format : {FormatId::kK4V4, FormatId::kTrackedF32}) {
    for (const KeyForm& form : {kBeforeRope, KeyForm{1, 6, 1}}) {
      TestSequence sequence = InForm(format, form, 599);
      sequence.policy = OnlinePolicy::kHeavyHitter;
      EXPECT_LT(Difference(*device, Geometry{1, 3, 1, 64}, {sequence}), kTolerance);
    }
  }
}

TEST(PolicyScoresTest, MeanOrMaximumOrNothing) {
  const auto device = CreateTestDevice(2);
  for (const OnlinePolicy policy :
       {OnlinePolicy::kNone, OnlinePolicy::kDiffKvPaper, OnlinePolicy::kDiffKvCode, OnlinePolicy::kHeavyHitter,
        OnlinePolicy::kSinksAndRecent, OnlinePolicy::kDemoteOldest, OnlinePolicy::kKeepShare}) {
    for (const int32_t group : {1, 3}) {
      TestSequence sequence = InForm(FormatId::kTrackedBf16, kPlain, 50);
      sequence.policy = policy;
      EXPECT_LT(Difference(*device, Geometry{1, 2 * group, 2, 64}, {sequence}), kTolerance)
          << static_cast<int>(policy) << " group " << group;
    }
  }
}

}  // namespace
}  // namespace decant
