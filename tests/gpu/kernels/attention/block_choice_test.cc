#include "gpu/kernels/attention/block_choice.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "common/compress/arith/key_range.h"
#include "gpu/kernels/pages/key_statistics.h"
#include "hwy/targets.h"
#include "tests/gpu/kernels/attention/paged_batch.h"
#include "tests/support/test_device.h"

namespace decant {
namespace {

TestSequence Indexed(FormatId format, int32_t tokens, int32_t read, int32_t dense_layers = 0) {
  TestSequence sequence;
  sequence.formats[kHigh] = format;
  sequence.tokens = {{tokens, 0, 0, 0}};
  sequence.read = {read, dense_layers};
  return sequence;
}

double LargestDifference(PagedBatch& batch) {
  const std::vector<float> expected = batch.Reference();
  const std::vector<float> actual = batch.Attend();
  double largest = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double difference = std::abs(static_cast<double>(actual[i]) - expected[i]);
    if (!(difference <= largest)) largest = std::isnan(difference) ? INFINITY : difference;
  }
  return largest;
}

TEST(KeyRangeTest, RoundsOutwardToTheNearestBf16) {
  for (const float x : {0.0f, -0.0f, 1.0f, -1.0f, 1.00001f, -1.00001f, 3.4e38f, -3.4e38f, 1e-40f, -1e-40f, 0.1f}) {
    EXPECT_LE(ToFloat(RoundDown(x)), x);
    EXPECT_GE(ToFloat(RoundUp(x)), x);
    if (ToFloat(ToBf16(x)) == x) {
      EXPECT_EQ(ToFloat(RoundDown(x)), x);
      EXPECT_EQ(ToFloat(RoundUp(x)), x);
    } else {
      EXPECT_TRUE(ToFloat(ToBf16(x)) == ToFloat(RoundDown(x)) || ToFloat(ToBf16(x)) == ToFloat(RoundUp(x)));
    }
  }
  EXPECT_EQ(ToFloat(RoundDown(NAN)), -INFINITY);
  EXPECT_EQ(ToFloat(RoundUp(NAN)), INFINITY);
}

// compression-methods.md section 8, test d.
TEST(BlockChoiceTest, BoundsHoldForEveryBlockOnEveryVectorWidth) {
  for (int64_t rest = hwy::SupportedTargets(); rest != 0; rest &= rest - 1) {
    hwy::SetSupportedTargetsForTest(rest & -rest);
    hwy::GetChosenTarget().DeInit();
    const auto device = CreateTestDevice(1);
    for (const int32_t head_dim : {32, 40, 128, 256}) {
      for (const FormatId format : {FormatId::kIndexedF32, FormatId::kIndexedBf16}) {
        PagedBatch batch(*device, Geometry{1, 6, 2, head_dim}, 40960, {Indexed(format, 501, 64)}, 3);
        for (int32_t kv_head = 0; kv_head < 2; ++kv_head) {
          const std::vector<float> bounds = batch.Bounds(0, kv_head);
          ASSERT_EQ(bounds.size(), 32u);
          for (int32_t block = 0; block < 32; ++block) {
            const PagedBatch::BlockTruth truth = batch.Block(0, kv_head, block);
            const double slack = 1e-5 * std::sqrt(head_dim) * std::max(1.0, std::abs(truth.bound));
            EXPECT_NEAR(bounds[static_cast<size_t>(block)], truth.bound, slack);
            EXPECT_GE(bounds[static_cast<size_t>(block)] + slack, truth.largest);
            EXPECT_GE(truth.bound, truth.largest) << "block " << block;
          }
        }
      }
    }
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().DeInit();
}

// Rotating keys and query alike leaves q.k as it is, and the statistics of the rotated keys bound it too.
TEST(BlockChoiceTest, BoundsHoldAfterRotation) {
  constexpr int32_t kHeadDim = 64;
  std::mt19937 random(11);
  std::normal_distribution<float> normal;
  const auto rotate = [](const std::vector<float>& x) {
    std::vector<float> y(x.size());
    for (size_t i = 0; i < y.size(); ++i) {
      for (size_t j = 0; j < x.size(); ++j) y[i] += __builtin_parityll(i & j) != 0 ? -x[j] / 8 : x[j] / 8;
    }
    return y;
  };
  for (int round = 0; round < 50; ++round) {
    std::vector<float> q(kHeadDim);
    for (float& x : q) x = normal(random);
    std::vector<float> rotated_keys;
    double largest = -INFINITY;
    for (int32_t t = 0; t < kStatisticsBlock; ++t) {
      std::vector<float> k(kHeadDim);
      for (float& x : k) x = normal(random);
      k[5] += 12;  // an outlier channel
      largest = std::max(largest, std::inner_product(q.begin(), q.end(), k.begin(), 0.0));
      const std::vector<float> rotated = rotate(k);
      rotated_keys.insert(rotated_keys.end(), rotated.begin(), rotated.end());
    }
    std::vector<Bf16> entry(2 * kHeadDim);
    WriteKeyStatistics(reinterpret_cast<const uint8_t*>(rotated_keys.data()), kStatisticsBlock, kHeadDim, Element::kF32,
                       reinterpret_cast<uint8_t*>(entry.data()));
    const std::vector<float> rotated_q = rotate(q);
    double bound = 0;
    for (size_t i = 0; i < kHeadDim; ++i) {
      const double x = rotated_q[i];
      bound += std::max(x * ToFloat(entry[i]), x * ToFloat(entry[kHeadDim + i]));
    }
    EXPECT_GE(bound, largest - 1e-4);
  }
}

TEST(BlockChoiceTest, AttentionOverTheChosenBlocksEqualsTheReference) {
  for (const int threads : {1, 2, 5}) {
    const auto device = CreateTestDevice(threads);
    for (const FormatId format : {FormatId::kIndexedF32, FormatId::kIndexedBf16}) {
      for (const int32_t tokens : {1, 15, 16, 17, 63, 64, 65, 600, 2047}) {
        for (const int32_t read : {1, 16, 64, 512, 4096}) {
          for (const int32_t group : {1, 3}) {
            PagedBatch batch(*device, Geometry{1, 2 * group, 2, 40}, 8192, {Indexed(format, tokens, read)}, 5);
            EXPECT_LT(LargestDifference(batch), 2e-5) << tokens << " tokens, " << read << " read, group " << group;
          }
        }
      }
    }
  }
}

// Section 3: of N tokens with K blocks of S read, 1/S + K S / N of the bytes of keys and values.
TEST(BlockChoiceTest, ReadsTheShareOfBytesThatThePaperSays) {
  const auto device = CreateTestDevice(2);
  const int64_t full = int64_t{2048} * 2 * 64 * 2 * 2;  // tokens, K and V, head_dim, bytes, kv heads
  for (const int32_t read : {64, 256, 512, 1024}) {
    PagedBatch batch(*device, Geometry{1, 4, 2, 64}, 8192, {Indexed(FormatId::kIndexedBf16, 2048, read)}, 7);
    batch.Attend();
    const double share = static_cast<double>(batch.bytes_read()[0]) / static_cast<double>(full);
    // The last block of 128 is read without a look at its statistics.
    EXPECT_NEAR(share, 127.0 / 128 / 16 + read / 2048.0, 1e-9) << read;
    EXPECT_NEAR(share, 1.0 / 16 + read / 2048.0, 5e-4) << read;
  }
  PagedBatch dense(*device, Geometry{1, 4, 2, 64}, 8192, {Indexed(FormatId::kIndexedBf16, 2048, 512, 1)}, 7);
  dense.Attend();
  EXPECT_EQ(dense.bytes_read()[0], full) << "a dense layer";
  const auto four_threads = CreateTestDevice(4);
  PagedBatch cut(*four_threads, Geometry{1, 1, 1, 64}, 8192, {Indexed(FormatId::kFullBf16, 2048, 0)}, 7);
  cut.Attend();
  EXPECT_EQ(cut.bytes_read()[0], full / 2) << "a head that is cut between threads";
}

TEST(BlockChoiceTest, DenseLayersAndOtherTiersAreReadWhole) {
  const auto device = CreateTestDevice(2);
  PagedBatch dense(*device, Geometry{1, 3, 1, 64}, 12288, {Indexed(FormatId::kIndexedF32, 400, 64, 1)}, 9);
  EXPECT_LT(LargestDifference(dense), 2e-5);
  SequenceRows rows;
  rows.formats[kHigh] = FormatId::kIndexedF32;
  rows.read = {64, 2};
  HeadState head;
  head.tokens[kHigh] = 65;
  EXPECT_TRUE(ChoosesBlocks(rows, head, 2));
  EXPECT_FALSE(ChoosesBlocks(rows, head, 1));
  head.tokens[kHigh] = 64;
  EXPECT_FALSE(ChoosesBlocks(rows, head, 2)) << "all blocks are read anyway";
  head.tokens[kHigh] = 400;
  head.tokens[kFixed] = 1;
  EXPECT_FALSE(ChoosesBlocks(rows, head, 2));
  head.tokens[kFixed] = 0;
  rows.key_forms[kHigh].rope = 0;
  EXPECT_FALSE(ChoosesBlocks(rows, head, 2)) << "the bound is one on keys as the query meets them";
  rows.key_forms[kHigh].rope = 1;
  rows.formats[kHigh] = FormatId::kFullF32;
  EXPECT_FALSE(ChoosesBlocks(rows, head, 2));
}

}  // namespace
}  // namespace decant
