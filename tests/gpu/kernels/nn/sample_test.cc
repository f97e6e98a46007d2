#include "gpu/kernels/nn/sample.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "tests/support/device_array.h"
#include "tests/support/kernel_devices.h"
#include "tests/support/test_device.h"

namespace decant {
namespace {

std::vector<int32_t> DrawOn(Stream& stream, const std::vector<float>& logits, int32_t vocabulary,
                            const std::vector<Sampling>& sampling, const std::vector<int32_t>& positions) {
  const auto rows = static_cast<int32_t>(sampling.size());
  const DeviceArray<float> l(stream, logits);
  const DeviceArray<Sampling> s(stream, sampling);
  const DeviceArray<int32_t> p(stream, positions);
  const DeviceArray<int32_t> tokens(stream, sampling.size());
  const DeviceArray<char> scratch(stream, static_cast<size_t>(SampleScratchBytes(rows, vocabulary)));
  Sample(stream, SampleArgs{l.data(), vocabulary, rows, vocabulary, s.data(), p.data(), tokens.data(), scratch.data()});
  return tokens.Read();
}

class SampleTest : public testing::Test {
 protected:
  std::vector<int32_t> Draw(const std::vector<float>& logits, int32_t vocabulary, const std::vector<Sampling>& sampling,
                            const std::vector<int32_t>& positions) {
    return DrawOn(*stream_, logits, vocabulary, sampling, positions);
  }
  std::map<int32_t, int> Histogram(const std::vector<float>& logits, const Sampling& sampling, int32_t draws) {
    // One row per draw, at positions 0, 1, ...
    std::vector<float> rows;
    std::vector<int32_t> positions;
    for (int32_t i = 0; i < draws; ++i) {
      rows.insert(rows.end(), logits.begin(), logits.end());
      positions.push_back(i);
    }
    const std::vector<Sampling> samplings(static_cast<size_t>(draws), sampling);
    std::map<int32_t, int> counts;
    for (const int32_t token : Draw(rows, static_cast<int32_t>(logits.size()), samplings, positions)) ++counts[token];
    return counts;
  }

  const std::unique_ptr<Device> device_ = CreateTestDevice(2);
  const std::unique_ptr<Stream> stream_ = device_->NewStream();
};

class SampleOnDevicesTest : public testing::TestWithParam<KernelDevice> {
 protected:
  std::vector<int32_t> Draw(const std::vector<float>& logits, int32_t vocabulary, const std::vector<Sampling>& sampling,
                            const std::vector<int32_t>& positions) {
    return DrawOn(*stream_, logits, vocabulary, sampling, positions);
  }

  const std::unique_ptr<Device> device_ = GetParam().create(int64_t{64} << 20);
  const std::unique_ptr<Stream> stream_ = device_->NewStream();
};
DECANT_ON_KERNEL_DEVICES(SampleOnDevicesTest);

TEST_P(SampleOnDevicesTest, GreedyTakesTheFirstOfTheBest) {
  EXPECT_EQ(Draw({1, 3, 3, 2, 5, 5}, 3, {Sampling(), Sampling()}, {0, 0}), (std::vector<int32_t>{1, 1}));
  EXPECT_EQ(Draw({7}, 1, {Sampling()}, {0}), (std::vector<int32_t>{0}));
}

TEST_F(SampleTest, DrawsWithTheSoftmaxProbabilities) {
  const std::vector<float> logits = {0, std::log(2.0f), std::log(5.0f)};
  const auto counts = Histogram(logits, Sampling{1, 0, 1, 7}, 4000);
  EXPECT_NEAR(counts.at(0), 500, 80);
  EXPECT_NEAR(counts.at(1), 1000, 110);
  EXPECT_NEAR(counts.at(2), 2500, 130);
  // Half the temperature squares the weights: 1, 4, 25.
  const auto cold = Histogram(logits, Sampling{0.5f, 0, 1, 7}, 3000);
  EXPECT_NEAR(cold.at(0), 100, 40);
  EXPECT_NEAR(cold.at(2), 2500, 80);
}

TEST_F(SampleTest, KeepsOnlyTheTopKWithTiesByAscendingId) {
  const auto counts = Histogram({2, 1, 2, 2, 0}, Sampling{1, 2, 1, 3}, 400);
  EXPECT_EQ(counts.size(), 2u);
  EXPECT_GT(counts.at(0), 0);
  EXPECT_GT(counts.at(2), 0);
  EXPECT_EQ(Histogram({2, 1, 3}, Sampling{1, 1, 1, 3}, 20).size(), 1u);
  EXPECT_EQ(Histogram({2, 1, 3}, Sampling{1, 99, 1, 3}, 500).size(), 3u);
}

TEST_F(SampleTest, KeepsTheFewestTokensThatReachTopP) {
  const std::vector<float> logits = {std::log(1.0f), std::log(4.0f), std::log(2.0f), std::log(3.0f)};
  EXPECT_EQ(Histogram(logits, Sampling{1, 0, 0.39f, 5}, 200).size(), 1u);
  const auto two = Histogram(logits, Sampling{1, 0, 0.41f, 5}, 400);
  EXPECT_EQ(two.size(), 2u);
  EXPECT_TRUE(two.contains(1) && two.contains(3));
  EXPECT_EQ(Histogram(logits, Sampling{1, 0, 0.0f, 5}, 50).size(), 1u) << "at least one token is kept";
}

TEST_F(SampleTest, TopPLooksBeyondTheFirstSortedTokens) {
  // 1000 equal tokens: the first 700 ids reach 0.7, whatever the steps of the partial sort.
  const std::vector<float> logits(1000, 1.0f);
  int32_t largest = 0;
  for (const auto& [token, count] : Histogram(logits, Sampling{1, 0, 0.6995f, 11}, 3000)) {
    largest = std::max(largest, token);
  }
  EXPECT_LT(largest, 700);
  EXPECT_GT(largest, 680);
}

TEST_F(SampleTest, ATokenDependsOnSeedAndPositionOnly) {
  const std::vector<float> row = RandomFloats(500, 9);
  std::vector<float> two_rows = row;
  two_rows.insert(two_rows.end(), row.begin(), row.end());
  const Sampling sampling{1.5f, 100, 0.95f, 42};
  std::map<int32_t, int> seen;
  for (int32_t position = 0; position < 50; ++position) {
    const int32_t alone = Draw(row, 500, {sampling}, {position})[0];
    EXPECT_EQ(Draw(two_rows, 500, {Sampling(), sampling}, {0, position})[1], alone);
    ++seen[alone];
  }
  EXPECT_GT(seen.size(), 10u);
  Sampling other = sampling;
  other.seed = 43;
  int differences = 0;
  for (int32_t position = 0; position < 20; ++position) {
    differences += Draw(row, 500, {sampling}, {position}) != Draw(row, 500, {other}, {position});
  }
  EXPECT_GT(differences, 10);
}

TEST_P(SampleOnDevicesTest, NeverLeavesTheVocabularyWhateverTheLogits) {
  for (const float strange : {NAN, INFINITY, -INFINITY}) {
    for (const Sampling& sampling : {Sampling{1, 3, 0.5f, 1}, Sampling{1, 0, 1, 1}, Sampling{}}) {
      const int32_t token = Draw({strange, 1, strange, 0, strange}, 5, {sampling}, {3})[0];
      EXPECT_GE(token, 0);
      EXPECT_LT(token, 5);
    }
  }
}

// Any worker can go on where another stopped, whatever its device: the laws above hold for the host, and every device
// draws the host's tokens.
TEST_P(SampleOnDevicesTest, DrawsWhatTheHostDraws) {
  const auto host = CreateTestDevice(1);
  const auto host_stream = host->NewStream();
  constexpr int32_t kRows = 12;
  int number = 0;
  for (const int32_t vocabulary : {1, 2, 255, 256, 257, 1500}) {
    std::vector<float> logits = RandomFloats(static_cast<size_t>(kRows * vocabulary), 13);
    for (size_t i = 0; i < logits.size(); ++i) {
      // Many ties in every other row; a few tokens far ahead of the others in the rest.
      logits[i] = i / static_cast<size_t>(vocabulary) % 2 == 0 ? std::round(logits[i] * 3) : logits[i] * 12;
    }
    std::vector<int32_t> positions(kRows);
    for (size_t i = 0; i < positions.size(); ++i) positions[i] = static_cast<int32_t>(i * 37);
    for (const int32_t top_k : {0, 1, 2, 40, 256, 5000}) {
      for (const float top_p : {1.0f, 0.93f, 0.5f, 0.0f}) {
        for (const float temperature : {0.7f, 3.0f}) {
          // The launcher is slow: it takes every fifth of them, others for every size.
          if (device_->kind() != DeviceKind::kHost && number++ % 5 != 0) continue;
          const std::vector<Sampling> sampling(kRows, Sampling{temperature, top_k, top_p, 99});
          EXPECT_EQ(Draw(logits, vocabulary, sampling, positions),
                    DrawOn(*host_stream, logits, vocabulary, sampling, positions))
              << vocabulary << " tokens, top_k " << top_k << ", top_p " << top_p << ", temperature " << temperature;
        }
      }
    }
  }
}

}  // namespace
}  // namespace decant
