// Decode attention on every device against the scalar reference: fewer sizes than the host's own tests, since the
// launcher runs a block's threads one after another, but every format, form, policy and border.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "gpu/kernels/attention/decode_attention.h"
#include "tests/gpu/kernels/attention/paged_batch.h"
#include "tests/support/kernel_devices.h"

namespace decant {
namespace {

// As for the host: sums of some thousand products in f32, and the rounding of a balancer's quotients.
constexpr double kTolerance = 4e-5;

constexpr FormatId kFormats[] = {
    FormatId::kFullF32,     FormatId::kFullBf16,  FormatId::kK8V4,        FormatId::kK4V2,       FormatId::kTrackedF32,
    FormatId::kTrackedBf16, FormatId::kK4V4,      FormatId::kTrackedK4V4, FormatId::kK4V8,       FormatId::kK4V1,
    FormatId::kGroupK4V4,   FormatId::kGroupK2V2, FormatId::kIndexedF32,  FormatId::kIndexedBf16};

TestSequence Uniform(FormatId format, int32_t tokens, OnlinePolicy policy = OnlinePolicy::kNone) {
  TestSequence sequence;
  sequence.formats[kHigh] = format;
  sequence.tokens = {{tokens, 0, 0, 0}};
  sequence.policy = policy;
  return sequence;
}

TestSequence Tiered(int32_t high, int32_t low, int32_t fixed) {
  TestSequence sequence;
  sequence.formats = {FormatId::kK8V4, FormatId::kK4V2, FormatId::kFullBf16};
  sequence.tokens = {{high, low, fixed, 0}};
  sequence.policy = OnlinePolicy::kDiffKvPaper;
  return sequence;
}

TestSequence InForm(FormatId format, const KeyForm& form, int32_t tokens) {
  TestSequence sequence = Uniform(format, tokens);
  sequence.key_forms[kHigh] = form;
  return sequence;
}

// A split row whose window is `window`; `keys_in_window` as many of its keys are not frozen.
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

class DecodeOnDevicesTest : public testing::TestWithParam<KernelDevice> {
 protected:
  // The largest difference of output and scores to the reference; every other byte of the pages stays what it is.
  double Difference(const Geometry& geometry, const std::vector<TestSequence>& sequences, int64_t page_bytes = 8192,
                    uint32_t seed = 7) {
    PagedBatch batch(*device_, geometry, page_bytes, sequences, seed);
    const std::vector<float> expected = batch.Reference();
    const std::vector<float> actual = batch.Attend();
    EXPECT_EQ(actual.size(), expected.size());
    double largest = batch.LargestScoreDifference();
    for (size_t i = 0; i < actual.size(); ++i) {
      const double difference = std::abs(static_cast<double>(actual[i]) - expected[i]);
      // A NaN must not hide.
      if (!(difference <= largest)) largest = std::isnan(difference) ? INFINITY : difference;
    }
    return largest;
  }

  const std::unique_ptr<Device> device_ = GetParam().create(int64_t{256} << 20);
};
DECANT_ON_KERNEL_DEVICES(DecodeOnDevicesTest);

TEST_P(DecodeOnDevicesTest, EqualsTheReferenceInEveryFormatHeadDimAndGroup) {
  for (const FormatId format : kFormats) {
    const int64_t page_bytes = FormatOf(format).statistics ? 40960 : 8192;
    for (const int32_t head_dim : {40, 64, 96, 128, 256}) {
      for (const int32_t group : {1, 2, 3, 4, 8, 16}) {
        if (head_dim != 64 && group != 3) continue;
        EXPECT_LT(Difference(Geometry{1, 2 * group, 2, head_dim}, {Uniform(format, 61)}, page_bytes), kTolerance)
            << "format " << static_cast<int>(format) << " head_dim " << head_dim << " group " << group;
      }
    }
  }
}

TEST_P(DecodeOnDevicesTest, EqualsTheReferenceAroundPageAndTileBorders) {
  for (const FormatId format : {FormatId::kFullBf16, FormatId::kTrackedF32, FormatId::kK8V4, FormatId::kK4V2,
                                FormatId::kK4V1, FormatId::kGroupK2V2}) {
    const int32_t page = FitLayout(format, 64, 4096).tokens;
    for (const int32_t tokens : {1, 2, 15, 16, 17, 63, 64, 65, page - 1, page, page + 1, 3 * page + 5}) {
      EXPECT_LT(Difference(Geometry{1, 6, 2, 64}, {Uniform(format, tokens, OnlinePolicy::kDiffKvCode)}, 4096),
                kTolerance)
          << "format " << static_cast<int>(format) << ", " << tokens << " tokens";
    }
  }
}

TEST_P(DecodeOnDevicesTest, MixesFormatsPoliciesAndLengthsInOneBatch) {
  TestSequence uneven = Tiered(0, 0, 0);
  uneven.formats[kFixed] = FormatId::kK8V4;
  uneven.tokens = {{100, 7, 64, 0}, {3, 400, 64, 0}, {0, 0, 1, 0}};
  EXPECT_LT(Difference(Geometry{1, 9, 3, 64},
                       {Uniform(FormatId::kFullF32, 200), uneven, Uniform(FormatId::kK4V2, 1),
                        Uniform(FormatId::kFullBf16, 0), Tiered(64, 500, 0), Split(77, 77 % 32, 32, true),
                        Uniform(FormatId::kK8V4, 333, OnlinePolicy::kHeavyHitter)},
                       4096),
            kTolerance);
}

TEST_P(DecodeOnDevicesTest, HeadsWithoutTokensGiveZerosAndNoSequencesNothing) {
  PagedBatch batch(*device_, Geometry{1, 4, 2, 64}, 4096, {Uniform(FormatId::kK8V4, 0)}, 1);
  for (const float x : batch.Attend()) EXPECT_EQ(x, 0);
  PagedBatch none(*device_, Geometry{1, 4, 2, 64}, 4096, {}, 1);
  EXPECT_TRUE(none.Attend().empty());
}

// Sizes around the borders of splits: many tokens of few heads are cut. Defect D2 of the public kernels gave low tokens
// a foreign factor whenever the high count was no multiple of the partition.
TEST_P(DecodeOnDevicesTest, D2SplitsOfAHeadMergeAndScoresGetTheirOwnFactor) {
  for (const int32_t high : {1, 1023, 1024, 1025}) {
    EXPECT_LT(Difference(Geometry{1, 2, 1, 64}, {Tiered(high, 1100, 65)}, 4096), kTolerance) << high << " high tokens";
  }
  EXPECT_LT(Difference(Geometry{1, 4, 1, 64}, {Split(1999, 1999 % 32, 32, true)}, 4096), kTolerance);
  EXPECT_LT(Difference(Geometry{1, 3, 1, 128}, {Uniform(FormatId::kK4V2, 2100), Uniform(FormatId::kK4V2, 40)}),
            kTolerance);
}

// Defect D3 was a reader that ran before its writers had finished: here two runs give the same bytes in any warp order.
TEST_P(DecodeOnDevicesTest, D3ScoresDoNotDependOnTheSchedule) {
  PagedBatch first(*device_, Geometry{1, 4, 1, 64}, 4096, {Tiered(800, 900, 0)}, 3);
  PagedBatch again(*device_, Geometry{1, 4, 1, 64}, 4096, {Tiered(800, 900, 0)}, 3);
  EXPECT_EQ(first.Attend(), again.Attend());
  EXPECT_EQ(first.pages(), again.pages());
}

TEST_P(DecodeOnDevicesTest, StaysFiniteForLogitsOfAnySize) {
  // One key so large that every other weight underflows.
  PagedBatch batch(*device_, Geometry{1, 1, 1, 64}, 4096, {Uniform(FormatId::kFullF32, 600)}, 1);
  for (size_t i = 0; i < 64; ++i) {
    const float huge = 3e4f;
    std::memcpy(batch.pages().data() + 4 * i, &huge, 4);
  }
  batch.Upload();
  const std::vector<float> expected = batch.Reference();
  const std::vector<float> actual = batch.Attend();
  for (size_t i = 0; i < actual.size(); ++i) EXPECT_NEAR(actual[i], expected[i], kTolerance);
}

TEST_P(DecodeOnDevicesTest, SplitRowsEqualTheReferenceWhereverTheWindowStands) {
  for (const int32_t window : {32, 64}) {
    for (const int32_t tokens : {1, 31, 32, 33, 63, 64, 65, 96, 200}) {
      const bool two_bits = tokens % 2 == 0;
      std::vector<TestSequence> sequences = {Split(tokens, tokens % window, window, two_bits)};
      // Between the step that fills the key window and the one that freezes it.
      if (tokens % window == 0) sequences.push_back(Split(tokens, window, window, !two_bits));
      EXPECT_LT(Difference(Geometry{1, 6, 2, 64}, sequences), kTolerance) << tokens << " tokens, window " << window;
    }
  }
  for (const int32_t head_dim : {40, 128, 256}) {
    EXPECT_LT(Difference(Geometry{1, 3, 1, head_dim}, {Split(107, 107 % 32, 32, head_dim == 40)}, 40960), kTolerance)
        << head_dim;
  }
}

TEST_P(DecodeOnDevicesTest, KeyFormsChangeNoProduct) {
  for (const FormatId format : {FormatId::kFullF32, FormatId::kTrackedBf16, FormatId::kK8V4, FormatId::kK4V2}) {
    for (const int32_t head_dim : {64, 96, 256}) {
      for (const KeyForm& form : {KeyForm{1, 5, 0}, KeyForm{1, 0, 1}, KeyForm{1, 4, 1}, KeyForm{0, 0, 0}}) {
        EXPECT_LT(Difference(Geometry{1, 6, 2, head_dim}, {InForm(format, form, 67)}), kTolerance)
            << "format " << static_cast<int>(format) << " head_dim " << head_dim << " Hadamard 2^" << int{form.hadamard}
            << " balanced " << int{form.balanced} << " rope " << int{form.rope};
      }
    }
  }
  EXPECT_LT(Difference(Geometry{1, 2, 2, 40}, {InForm(FormatId::kK4V4, KeyForm{0, 0, 0}, 67)}), kTolerance);
}

TEST_P(DecodeOnDevicesTest, EveryTierHasItsOwnForm) {
  TestSequence sequence;
  sequence.formats = {FormatId::kK4V4, FormatId::kK4V2, FormatId::kK8V4, FormatId::kNone};
  for (const KeyForm& form : {KeyForm{1, 6, 0}, KeyForm{1, 4, 1}, KeyForm{0, 0, 0}}) {
    sequence.key_forms = {form, form, KeyForm(), KeyForm()};
    sequence.tokens = {{40, 21, 64, 0}, {3, 0, 64, 0}, {0, 5, 0, 0}};
    EXPECT_LT(Difference(Geometry{1, 6, 3, 64}, {sequence, InForm(FormatId::kK4V4, KeyForm(), 33)}), kTolerance);
  }
}

TEST_P(DecodeOnDevicesTest, SinksAreReadAtTheirPlaceInTheCache) {
  for (const int32_t length : {40, 41, 599}) {
    TestSequence sequence = InForm(FormatId::kTrackedF32, KeyForm{0, 0, 0}, 40);
    sequence.policy = OnlinePolicy::kSinksAndRecent;
    sequence.sinks = 4;
    sequence.length = length;
    EXPECT_LT(Difference(Geometry{1, 4, 2, 64}, {sequence}), kTolerance) << length;
  }
}

TEST_P(DecodeOnDevicesTest, PoliciesCollectMeanOrMaximumOrNothing) {
  for (const OnlinePolicy policy :
       {OnlinePolicy::kNone, OnlinePolicy::kDiffKvPaper, OnlinePolicy::kDiffKvCode, OnlinePolicy::kHeavyHitter,
        OnlinePolicy::kSinksAndRecent, OnlinePolicy::kDemoteOldest, OnlinePolicy::kKeepShare}) {
    for (const int32_t group : {1, 3}) {
      EXPECT_LT(Difference(Geometry{1, 2 * group, 2, 64}, {Uniform(FormatId::kTrackedBf16, 50, policy)}), kTolerance)
          << static_cast<int>(policy) << " group " << group;
    }
  }
}

TEST_P(DecodeOnDevicesTest, ReadsOnlyTheBlocksThatThePolicyChooses) {
  for (const FormatId format : {FormatId::kIndexedF32, FormatId::kIndexedBf16}) {
    for (const int32_t tokens : {1, 16, 17, 64, 65, 600}) {
      for (const int32_t read : {1, 64, 512}) {
        TestSequence sequence = Uniform(format, tokens);
        sequence.read = {read, 0};
        EXPECT_LT(Difference(Geometry{1, 6, 2, 40}, {sequence}), kTolerance)
            << tokens << " tokens, " << read << " read";
      }
    }
  }
  TestSequence quest = Uniform(FormatId::kIndexedBf16, 640);
  quest.read = {64, 0};
  PagedBatch batch(*device_, Geometry{1, 4, 2, 64}, 8192, {quest}, 7);
  batch.Attend();
  // Two kv heads: four blocks of K and V, and the statistics of all blocks but the last.
  EXPECT_EQ(batch.bytes_read()[0], 2 * (64 * 2 * 64 * 2 + 39 * 2 * 64 * 2));
}

}  // namespace
}  // namespace decant
