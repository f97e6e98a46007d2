#include "gpu/kernels/attention/decode_attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>

#include "hwy/targets.h"
#include "tests/gpu/kernels/attention/paged_batch.h"
#include "tests/support/test_device.h"

namespace decant {
namespace {

// Values and queries are of size 1; sums of some thousand products in f32 against double.
constexpr double kTolerance = 2e-5;

struct Comparison {
  double output = 0;  // largest difference
  double score = 0;
};

Comparison Compare(Device& device, const Geometry& geometry, int64_t page_bytes,
                   const std::vector<TestSequence>& sequences, uint32_t seed = 1) {
  PagedBatch batch(device, geometry, page_bytes, sequences, seed);
  const std::vector<float> expected = batch.Reference();
  const std::vector<float> actual = batch.Attend();
  EXPECT_EQ(actual.size(), expected.size());
  Comparison comparison;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double difference = std::abs(static_cast<double>(actual[i]) - expected[i]);
    // A NaN must not hide.
    if (!(difference <= comparison.output)) comparison.output = std::isnan(difference) ? INFINITY : difference;
  }
  comparison.score = batch.LargestScoreDifference();
  return comparison;
}

TestSequence Uniform(FormatId format, int32_t tokens, OnlinePolicy policy = OnlinePolicy::kNone) {
  TestSequence sequence;
  sequence.formats[kHigh] = format;
  sequence.tokens = {{tokens, 0, 0}};
  sequence.policy = policy;
  return sequence;
}

TestSequence Tiered(int32_t high, int32_t low, int32_t fixed, FormatId fixed_format = FormatId::kFullBf16) {
  TestSequence sequence;
  sequence.formats = {FormatId::kK8V4, FormatId::kK4V2, fixed_format};
  sequence.tokens = {{high, low, fixed}};
  sequence.policy = OnlinePolicy::kDiffKvPaper;
  return sequence;
}

class FormatTest : public testing::TestWithParam<FormatId> {
 protected:
  // Blocks with statistics need more room.
  static int64_t PageBytes(int64_t bytes) { return FormatOf(GetParam()).statistics ? 40960 : bytes; }
};

TEST_P(FormatTest, EqualsTheReferenceAtEveryHeadDimAndGroup) {
  const auto device = CreateTestDevice(2);
  for (const int32_t head_dim : {32, 40, 48, 56, 64, 72, 80, 96, 104, 128, 160, 192, 232, 248, 256}) {
    for (const int32_t group : {1, 3, 8}) {
      const Geometry geometry{1, 2 * group, 2, head_dim};
      const Comparison comparison = Compare(*device, geometry, PageBytes(8192), {Uniform(GetParam(), 61)});
      EXPECT_LT(comparison.output, kTolerance) << "head_dim " << head_dim << " group " << group;
      EXPECT_EQ(comparison.score, 0) << "head_dim " << head_dim << " group " << group;
    }
  }
}

TEST_P(FormatTest, EqualsTheReferenceForEveryGroupUpTo16) {
  const auto device = CreateTestDevice(1);
  for (int32_t group = 1; group <= kMaxAttentionGroup; ++group) {
    const Comparison comparison =
        Compare(*device, Geometry{1, group, 1, 64}, PageBytes(4096), {Uniform(GetParam(), 37)});
    EXPECT_LT(comparison.output, kTolerance) << "group " << group;
  }
}

TEST_P(FormatTest, EqualsTheReferenceAroundPageAndTileBorders) {
  const auto device = CreateTestDevice(2);
  const Geometry geometry{1, 6, 2, 64};
  const int32_t page = FitLayout(GetParam(), geometry.head_dim, 4096).tokens;
  for (const int32_t tokens : {1, 2, 15, 16, 17, page - 1, page, page + 1, 2 * page - 1, 2 * page, 3 * page + 5}) {
    const Comparison comparison =
        Compare(*device, geometry, PageBytes(4096), {Uniform(GetParam(), tokens, OnlinePolicy::kDiffKvCode)});
    EXPECT_LT(comparison.output, kTolerance) << tokens << " tokens";
    EXPECT_LT(comparison.score, kTolerance) << tokens << " tokens";
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, FormatTest,
                         testing::Values(FormatId::kFullF32, FormatId::kFullBf16, FormatId::kK8V4, FormatId::kK4V2,
                                         FormatId::kTrackedF32, FormatId::kTrackedBf16, FormatId::kK4V4,
                                         FormatId::kTrackedK4V4, FormatId::kPlainK8V4, FormatId::kPlainK4V2,
                                         FormatId::kK4V8, FormatId::kK4V1, FormatId::kGroupK4V4, FormatId::kGroupK2V2,
                                         FormatId::kIndexedF32, FormatId::kIndexedBf16));

// A split row of `tokens` tokens whose window is `window`; `keys_in_window` as many of its keys are not frozen.
TestSequence Split(int32_t tokens, int32_t keys_in_window, int32_t window, bool two_bits) {
  TestSequence sequence;
  sequence.formats = {
      two_bits ? FormatId::kChannelK2 : FormatId::kChannelK4, two_bits ? FormatId::kGroupV2 : FormatId::kGroupV4,
      two_bits ? FormatId::kFullK16 : FormatId::kFullK32, two_bits ? FormatId::kFullV16 : FormatId::kFullV32};
  const int32_t values_in_window = std::min(tokens, window);
  sequence.tokens = {{tokens - keys_in_window, tokens - values_in_window, keys_in_window, values_in_window}};
  sequence.policy = OnlinePolicy::kFreeze;
  sequence.window = window;
  return sequence;
}

TEST(SplitRowsTest, EqualTheReferenceWhereverTheWindowStands) {
  const auto device = CreateTestDevice(2);
  for (const int32_t window : {32, 64, 128}) {
    for (const int32_t tokens : {1, 15, 31, 32, 33, 63, 64, 65, 96, 127, 128, 129, 200, 300}) {
      for (const bool two_bits : {false, true}) {
        std::vector<TestSequence> sequences = {Split(tokens, tokens % window, window, two_bits)};
        // Between the step that fills the key window and the one that freezes it.
        if (tokens % window == 0) sequences.push_back(Split(tokens, window, window, two_bits));
        for (const int32_t group : {1, 3}) {
          const Comparison comparison = Compare(*device, Geometry{1, 2 * group, 2, 64}, 8192, sequences);
          EXPECT_LT(comparison.output, kTolerance) << tokens << " tokens, window " << window << ", group " << group;
          EXPECT_EQ(comparison.score, 0);
        }
      }
    }
  }
}

TEST(SplitRowsTest, EqualTheReferenceAtEveryHeadDimAndVectorWidth) {
  for (int64_t rest = hwy::SupportedTargets(); rest != 0; rest &= rest - 1) {
    hwy::SetSupportedTargetsForTest(rest & -rest);
    hwy::GetChosenTarget().DeInit();
    const auto device = CreateTestDevice(1);
    for (const int32_t head_dim : {32, 40, 72, 128, 248, 256}) {
      for (const bool two_bits : {false, true}) {
        const Comparison comparison =
            Compare(*device, Geometry{1, 3, 1, head_dim}, 40960, {Split(107, 107 % 32, 32, two_bits)});
        EXPECT_LT(comparison.output, kTolerance) << head_dim << " " << hwy::TargetName(rest & -rest);
      }
    }
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().DeInit();
}

TEST(SplitRowsTest, GiveTheSameWhenHeadsAreCutBetweenThreads) {
  for (const int threads : {1, 2, 3, 5, 8}) {
    const auto device = CreateTestDevice(threads);
    const Comparison comparison = Compare(*device, Geometry{1, 9, 3, 64}, 4096, {Split(1999, 1999 % 32, 32, true)});
    EXPECT_LT(comparison.output, kTolerance) << threads << " threads";
  }
}

// Machines without the widest vectors take other paths of the same source.
TEST_P(FormatTest, EqualsTheReferenceOnEveryVectorWidth) {
  const auto device = CreateTestDevice(2);
  const int64_t supported = hwy::SupportedTargets();
  for (int64_t targets = supported; targets != 0; targets &= targets - 1) {
    hwy::SetSupportedTargetsForTest(targets);
    hwy::GetChosenTarget().DeInit();
    for (const int32_t head_dim : {40, 64, 96, 128, 256}) {
      const Comparison comparison =
          Compare(*device, Geometry{1, 10, 2, head_dim}, PageBytes(8192), {Uniform(GetParam(), 77)});
      EXPECT_LT(comparison.output, kTolerance) << hwy::TargetName(targets & -targets) << " head_dim " << head_dim;
    }
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().DeInit();
}

TEST(DecodeAttentionTest, GivesZerosForAHeadWithoutTokens) {
  const auto device = CreateTestDevice(2);
  PagedBatch batch(*device, Geometry{1, 4, 2, 64}, 4096, {Uniform(FormatId::kK8V4, 0)}, 1);
  for (const float x : batch.Attend()) EXPECT_EQ(x, 0);
}

TEST(DecodeAttentionTest, DoesNothingForNoSequences) {
  const auto device = CreateTestDevice(2);
  PagedBatch batch(*device, Geometry{1, 4, 2, 64}, 4096, {}, 1);
  EXPECT_TRUE(batch.Attend().empty());
}

TEST(DecodeAttentionTest, MixesFormatsInOneRow) {
  const auto device = CreateTestDevice(2);
  for (const auto& [high, low, fixed] : std::vector<std::array<int32_t, 3>>{
           {70, 90, 64}, {1, 1, 1}, {0, 90, 0}, {0, 0, 33}, {64, 0, 64}, {5, 300, 0}, {0, 17, 16}}) {
    const Comparison comparison = Compare(*device, Geometry{1, 6, 2, 64}, 4096, {Tiered(high, low, fixed)});
    EXPECT_LT(comparison.output, kTolerance) << high << " " << low << " " << fixed;
    EXPECT_LT(comparison.score, kTolerance) << high << " " << low << " " << fixed;
  }
}

TEST(DecodeAttentionTest, MixesFormatsPoliciesAndLengthsInOneBatch) {
  const auto device = CreateTestDevice(2);
  TestSequence uneven = Tiered(0, 0, 0, FormatId::kK8V4);
  uneven.tokens = {{100, 7, 64}, {3, 400, 64}, {0, 0, 1}};
  const Comparison comparison =
      Compare(*device, Geometry{1, 9, 3, 64}, 4096,
              {Uniform(FormatId::kFullF32, 200), uneven, Uniform(FormatId::kK4V2, 1), Uniform(FormatId::kFullBf16, 0),
               Tiered(64, 500, 0), Uniform(FormatId::kK8V4, 333, OnlinePolicy::kDiffKvCode)});
  EXPECT_LT(comparison.output, kTolerance);
  EXPECT_LT(comparison.score, kTolerance);
}

TEST(DecodeAttentionTest, GivesTheSameWhenHeadsAreCutBetweenThreads) {
  const Geometry geometry{1, 9, 3, 64};
  const std::vector<TestSequence> sequences = {Tiered(1500, 2100, 700)};
  for (const int threads : {1, 2, 3, 5, 8}) {
    const auto device = CreateTestDevice(threads);
    const Comparison comparison = Compare(*device, geometry, 4096, sequences);
    EXPECT_LT(comparison.output, kTolerance) << threads << " threads";
    EXPECT_LT(comparison.score, kTolerance) << threads << " threads";
  }
}

TEST(DecodeAttentionTest, StaysFiniteForLogitsOfAnySize) {
  const auto device = CreateTestDevice(2);
  // One key so large that every other weight underflows.
  PagedBatch batch(*device, Geometry{1, 1, 1, 64}, 4096, {Uniform(FormatId::kFullF32, 600)}, 1);
  for (size_t i = 0; i < 64; ++i) {
    const float huge = 3e4f;
    std::memcpy(batch.pages().data() + 4 * i, &huge, 4);
  }
  batch.Upload();
  const std::vector<float> expected = batch.Reference();
  const std::vector<float> actual = batch.Attend();
  for (size_t i = 0; i < actual.size(); ++i) EXPECT_NEAR(actual[i], expected[i], kTolerance);
}

// The public kernels took the rescaling factor of a low token by its position / partition size, so that low tokens got
// a foreign factor whenever the high count was no multiple of the partition.
TEST(DecodeAttentionTest, D2LowTokensGetTheFactorOfTheirOwnPart) {
  const auto device = CreateTestDevice(2);
  for (const int32_t high : {255, 256, 257, 700, 1023}) {
    PagedBatch batch(*device, Geometry{1, 2, 1, 64}, 4096, {Tiered(high, 900, 0)}, 7);
    std::vector<float> before;
    for (int32_t t = 0; t < 900; ++t) before.push_back(*batch.Score(0, 0, kLow, t));
    batch.Reference();
    batch.Attend();
    EXPECT_LT(batch.LargestScoreDifference(), kTolerance) << high << " high tokens";
    double received = 0;
    for (int32_t t = 0; t < 900; ++t) received += *batch.Score(0, 0, kLow, t) - before[static_cast<size_t>(t)];
    EXPECT_GT(received, 0.01) << "the test would not see a missing update";
  }
}

// The public kernels read the other heads' scores while those were still being rescaled. Here scores are added in a
// round of their own: many runs of a cut head under several threads give one result.
TEST(DecodeAttentionTest, D3ScoresDoNotDependOnTheScheduleOfParts) {
  const Geometry geometry{1, 8, 1, 64};
  const std::vector<TestSequence> sequences = {Tiered(900, 1100, 0)};
  const auto device = CreateTestDevice(4);
  PagedBatch first(*device, geometry, 4096, sequences, 3);
  first.Attend();
  for (int run = 0; run < 20; ++run) {
    PagedBatch again(*device, geometry, 4096, sequences, 3);
    again.Attend();
    ASSERT_EQ(again.pages(), first.pages()) << "run " << run;
  }
}

TEST(DecodeAttentionTest, LeavesScoresAloneWithoutAPolicy) {
  const auto device = CreateTestDevice(2);
  TestSequence sequence = Tiered(100, 700, 64);
  sequence.policy = OnlinePolicy::kNone;
  EXPECT_EQ(Compare(*device, Geometry{1, 1, 1, 64}, 4096, {sequence}).score, 0);
}

}  // namespace
}  // namespace decant
