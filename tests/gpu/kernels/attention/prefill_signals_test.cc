// Channel peaks and the choice of tokens that go on.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "gpu/kernels/attention/prefill_channel_peaks.h"
#include "gpu/kernels/attention/prefill_token_choice.h"
#include "tests/support/device_array.h"
#include "tests/support/kernel_devices.h"

namespace decant {
namespace {

class ChannelPeaksTest : public testing::TestWithParam<KernelDevice> {};
DECANT_ON_KERNEL_DEVICES(ChannelPeaksTest);

TEST_P(ChannelPeaksTest, AreTheLargestMagnitudesOverRowsAndGroup) {
  const auto device = GetParam().create(int64_t{16} << 20);
  const auto stream = device->NewStream();
  for (const RunType type : {RunType::kF32, RunType::kBf16}) {
    for (const int32_t rows : {0, 1, 2, 33}) {
      for (const int32_t head_dim : {1, 7, 8, 15, 16, 17, 48, 64}) {
        for (const int32_t group : {1, 3}) {
          const int32_t heads = 2 * group;
          const int32_t row_stride = heads * head_dim + 5;
          const std::vector<float> x = RandomFloats(static_cast<size_t>((rows + 1) * row_stride), 7);
          std::vector<float> wanted(static_cast<size_t>(2 * head_dim), 0.1f);
          for (int32_t row = 0; row < rows; ++row) {
            for (int32_t at = 0; at < heads * head_dim; ++at) {
              float& peak = wanted[static_cast<size_t>(at / head_dim / group * head_dim + at % head_dim)];
              peak = std::max(peak, std::abs(Rounded(type, x[static_cast<size_t>(row * row_stride + at)])));
            }
          }
          const DeviceArray<uint8_t> in(*stream, ToRunType(type, x));
          const DeviceArray<float> peaks(*stream, std::vector<float>(static_cast<size_t>(2 * head_dim), 0.1f));
          ChannelPeaksArgs args;
          args.type = type;
          args.x = in.data();
          args.row_stride = row_stride;
          args.head_stride = head_dim;
          args.rows = rows;
          args.heads = heads;
          args.group = group;
          args.head_dim = head_dim;
          args.peaks = peaks.data();
          ChannelPeaks(*stream, args);
          ASSERT_EQ(peaks.Read(), wanted) << rows << " rows of " << head_dim << ", group " << group;
        }
      }
    }
  }
}

struct Choice {
  int32_t tokens = 0;
  int32_t window = 0;
  int32_t kernel = 1;
  bool average = false;
  int32_t kept = 0;
  int32_t q_heads = 1;
};

std::vector<int32_t> Choose(Device& device, const Choice& c, const std::vector<float>& sums) {
  const auto stream = device.NewStream();
  const DeviceArray<float> in(*stream, sums);
  const DeviceArray<float> scores(*stream, static_cast<size_t>(c.tokens));
  const DeviceArray<int32_t> chosen(*stream, static_cast<size_t>(c.tokens));
  TokenChoiceArgs args;
  args.sums = in.data();
  args.stride = static_cast<int64_t>(sums.size()) / c.q_heads;
  args.q_heads = c.q_heads;
  args.tokens = c.tokens;
  args.window = c.window;
  args.kernel = c.kernel;
  args.average = c.average;
  args.kept = c.kept;
  args.scores = scores.data();
  args.chosen = chosen.data();
  ChooseTokens(*stream, args);
  std::vector<int32_t> rows = chosen.Read();
  rows.resize(static_cast<size_t>(c.kept));
  return rows;
}

// Pools an array padded as torch pads, then takes one best token after the other.
std::vector<int32_t> ReferenceChoice(const Choice& c, const std::vector<float>& sums) {
  const int32_t past = c.tokens - c.window;
  const auto stride = static_cast<int32_t>(sums.size()) / c.q_heads;
  std::vector<float> scores(static_cast<size_t>(past));
  for (int32_t head = 0; head < c.q_heads; ++head) {
    const int32_t reach = c.kernel / 2;
    std::vector<float> padded(static_cast<size_t>(past + 2 * reach), c.average ? 0.0f : -1e30f);
    std::copy_n(sums.begin() + head * stride, past, padded.begin() + reach);
    for (int32_t t = 0; t < past; ++t) {
      const auto first = padded.begin() + t;
      scores[static_cast<size_t>(t)] +=
          c.average ? std::accumulate(first, first + c.kernel, 0.0f) / static_cast<float>(c.kernel)
                    : *std::max_element(first, first + c.kernel);
    }
  }
  std::vector<int32_t> chosen;
  for (int32_t i = 0; i < c.kept - c.window; ++i) {
    const auto best = std::max_element(scores.begin(), scores.end());
    chosen.push_back(static_cast<int32_t>(best - scores.begin()));
    *best = -1;
  }
  std::sort(chosen.begin(), chosen.end());
  for (int32_t t = past; t < c.tokens; ++t) chosen.push_back(t);
  return chosen;
}

class ChooseTokensTest : public testing::TestWithParam<KernelDevice> {};
DECANT_ON_KERNEL_DEVICES(ChooseTokensTest);

TEST_P(ChooseTokensTest, TakesTheBestOfThePastAndTheWindow) {
  const auto device = GetParam().create(int64_t{16} << 20);
  const bool on_host = device->kind() == DeviceKind::kHost;
  for (const int32_t tokens : {1, 2, 7, 8, 9, 64, 131, 257, 600}) {
    for (const int32_t window : {0, 1, 7, 8, 9}) {
      for (const int32_t kernel : {1, 3, 5, 7, 31}) {
        if (!on_host && kernel % 4 != 3) continue;
        for (const bool average : {false, true}) {
          for (const int32_t extra : {0, 1, 5, tokens}) {
            Choice c{tokens, std::min(window, tokens), kernel, average, 0, 3};
            c.kept = std::min(tokens, c.window + extra);
            std::vector<float> sums = RandomFloats(static_cast<size_t>(3 * (tokens + 2)), 11);
            for (float& sum : sums) sum = std::abs(sum);
            ASSERT_EQ(Choose(*device, c, sums), ReferenceChoice(c, sums))
                << c.kept << " of " << tokens << ", window " << c.window << ", kernel " << kernel;
          }
        }
      }
    }
  }
}

TEST_P(ChooseTokensTest, TiesGoToTheEarlierTokenAndTheWindowDoesNotLeakIntoThePool) {
  const auto device = GetParam().create(int64_t{16} << 20);
  EXPECT_EQ(Choose(*device, Choice{6, 1, 1, false, 3, 1}, {1, 1, 1, 1, 1, 1}), (std::vector<int32_t>{0, 1, 5}));
  // Token 5 is of the window: pooled into token 4 it would win over token 0.
  EXPECT_EQ(Choose(*device, Choice{6, 1, 3, false, 2, 1}, {2, 0, 0, 0, 0, 9}), (std::vector<int32_t>{0, 5}));
  // A maximum spreads to the neighbours, an average counts zeros beyond the ends.
  EXPECT_EQ(Choose(*device, Choice{6, 0, 3, false, 3, 1}, {0, 0, 0, 5, 0, 0}), (std::vector<int32_t>{2, 3, 4}));
  EXPECT_EQ(Choose(*device, Choice{6, 0, 3, true, 1, 1}, {3, 0, 0, 2, 1.5, 0}), (std::vector<int32_t>{3}));
}

}  // namespace
}  // namespace decant
