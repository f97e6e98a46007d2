#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <vector>

#include "common/base/random.h"
#include "common/compress/arith/rans.h"
#include "common/compress/code/rans_decode.h"
#include "common/compress/code/rans_table.h"
#include "common/compress/code/symbols.h"
#include "hwy/targets.h"

namespace decant {
namespace {

TEST(RansTest, StepsAreInverseAtTheEndsOfTheStates) {
  for (uint32_t frequency = 1; frequency < kRansScale; frequency += frequency < 130 ? 1 : 61) {
    for (const uint32_t start : std::vector<uint32_t>{0u, 1u, kRansScale - frequency}) {
      if (start + frequency > kRansScale) continue;
      const RansSymbol symbol = MakeRansSymbol(start, frequency);
      std::vector<uint32_t> states = {symbol.limit - 1, symbol.limit - 2};
      for (uint64_t i = 0; i < 200; ++i) states.push_back(static_cast<uint32_t>(MixBits(frequency, i)) % symbol.limit);
      for (const uint32_t near : std::vector<uint32_t>{1u, 2u, 1000u, 16u})
        states.push_back(near * frequency < symbol.limit ? near * frequency : 0);
      for (const uint32_t state : states) {
        const uint32_t coded = RansEncodeStep(state, symbol);
        EXPECT_EQ(coded, (state / frequency << kRansScaleBits) + state % frequency + start);
        EXPECT_EQ(RansDecodeStep(coded, RansSlot(7, frequency, (coded & (kRansScale - 1)) - start)), state);
      }
    }
  }
}

uint32_t Sum(const RansFrequencies& frequencies) { return std::accumulate(frequencies.begin(), frequencies.end(), 0u); }

TEST(RansTest, FrequenciesSumAndKeepEverySymbol) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    RansCounts counts{};
    const size_t symbols = 1 + MixBits(seed, 0) % 256;
    for (size_t s = 0; s < symbols; ++s) {
      counts[s] = uint64_t{1} << (MixBits(seed, s + 1) % (1 + seed % 30));
      if (MixBits(seed, s + 999) % 3 == 0) counts[s] = 0;
    }
    counts[symbols / 2] += 1;
    const RansFrequencies frequencies = ScaleCounts(counts);
    EXPECT_EQ(Sum(frequencies), kRansScale) << seed;
    const auto used =
        static_cast<int64_t>(std::count_if(counts.begin(), counts.end(), [](uint64_t c) { return c > 0; }));
    for (size_t s = 0; s < 256; ++s) {
      EXPECT_LT(frequencies[s], kRansScale);
      if (used == 1) continue;
      EXPECT_EQ(frequencies[s] > 0, counts[s] > 0) << seed << " symbol " << s;
    }
    // The stored form comes back, and no cut of it does.
    uint8_t stored[kMaxRansTableBytes];
    const int64_t bytes = WriteRansTable(frequencies, stored);
    EXPECT_LE(bytes, kMaxRansTableBytes);
    RansFrequencies back;
    const auto read = ReadRansTable(absl::MakeConstSpan(stored, static_cast<size_t>(bytes)), 256, back);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(*read, bytes);
    EXPECT_EQ(back, frequencies);
    for (int64_t cut = 0; cut < bytes; ++cut) {
      EXPECT_FALSE(ReadRansTable(absl::MakeConstSpan(stored, static_cast<size_t>(cut)), 256, back).ok());
    }
  }
}

TEST(RansTest, LoneSymbolLeavesOneToItsNeighbour) {
  for (const size_t s : std::vector<size_t>{0, 1, 6, 255}) {
    RansCounts counts{};
    counts[s] = 12345;
    const RansFrequencies frequencies = ScaleCounts(counts);
    EXPECT_EQ(frequencies[s], kRansScale - 1);
    EXPECT_EQ(frequencies[s ^ 1], 1);
  }
}

TEST(RansTest, TablesThatNoEncoderWroteAreDataLoss) {
  RansFrequencies out;
  const std::vector<std::vector<uint8_t>> tables = {{},
                                                    {0},
                                                    {0, 0},
                                                    {3, 2, 5, 5},
                                                    {0, 16, 1},
                                                    {0, 1, 0},
                                                    {0, 1, 0x80, 0x20},
                                                    {0, 1, 0xff, 0xff},
                                                    {0, 2, 0x80, 0x1f, 0xff}};
  for (const auto& table : tables) {
    const auto status = ReadRansTable(table, 16, out).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << ::testing::PrintToString(table);
  }
  EXPECT_TRUE(ReadRansTable(std::vector<uint8_t>{0, 1, 0xff, 0x1f}, 16, out).ok());
}

TEST(RansTest, SharedTableRefusesSymbolsBeyondItsAlphabet) {
  RansCounts counts{};
  EXPECT_FALSE(SharedRansTable::Create(counts, 1).ok());
  EXPECT_FALSE(SharedRansTable::Create(counts, 257).ok());
  counts[16] = 1;
  EXPECT_FALSE(SharedRansTable::Create(counts, 16).ok());
  const auto table = SharedRansTable::Create(counts, 17);
  ASSERT_TRUE(table.ok());
  for (size_t s = 0; s < 17; ++s) EXPECT_GT(table->frequencies()[s], 0);
}

// Arbitrary words and states are as good as coded ones: vectors and plain loop must take the same path through them.
TEST(RansTest, VectorsEqualThePlainLoopOnEveryTarget) {
  RansCounts counts{};
  for (size_t s = 0; s < 256; ++s) counts[s] = 1 + (s * s) % 97;
  counts[9] = 3000;
  RansSlots slots;
  BuildRansSlots(ScaleCounts(counts), slots);
  for (int64_t rest = hwy::SupportedTargets(); rest != 0; rest &= rest - 1) {
    const int64_t target = rest & -rest;
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().DeInit();
    for (const int32_t lanes : {1, 2, 4, 8, 16, 32}) {
      for (const int64_t count : {0, 1, 7, 8, 31, 32, 33, 64, 95, 1000, 4096}) {
        for (const size_t words : std::vector<size_t>{0, 1, 17, 200, 3000}) {
          std::vector<uint8_t> bytes(words * 2 + 1);
          for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(MixBits(words, i));
          RansReader plain;
          plain.lanes = lanes;
          for (size_t lane = 0; lane < plain.states.size(); ++lane) {
            plain.states[lane] = static_cast<uint32_t>(MixBits(99, lane)) | kRansLow;
          }
          plain.next = bytes.data() + 1;  // unaligned, as behind a table of odd size
          plain.end = bytes.data() + bytes.size();
          RansReader fast = plain;
          std::vector<uint8_t> symbols(static_cast<size_t>(count) + 8, 0xee);
          const int64_t done = DecodeRansRounds(slots, count, fast, symbols.data());
          ASSERT_LE(done, count);
          ASSERT_EQ(done % lanes, 0);
          for (size_t i = static_cast<size_t>(done); i < symbols.size(); ++i) ASSERT_EQ(symbols[i], 0xee);
          std::vector<uint8_t> expected(static_cast<size_t>(count));
          ASSERT_TRUE(DecodeRansSymbols(slots, done, plain, expected.data()));
          ASSERT_TRUE(std::equal(expected.begin(), expected.begin() + done, symbols.begin()));
          ASSERT_EQ(fast.next, plain.next);
          ASSERT_EQ(fast.states, plain.states);
        }
      }
    }
    hwy::SetSupportedTargetsForTest(0);
    hwy::GetChosenTarget().DeInit();
  }
}

template <int32_t kBits>
void ExpectSymbolsComeBack() {
  for (int64_t bytes = 0; bytes < 40; ++bytes) {
    std::vector<uint8_t> packed(static_cast<size_t>(bytes));
    for (size_t i = 0; i < packed.size(); ++i) packed[i] = static_cast<uint8_t>(MixBits(kBits, i));
    std::vector<uint8_t> symbols(static_cast<size_t>(bytes * 8 / kBits));
    SymbolsOfPacked<kBits>(packed.data(), bytes, symbols.data());
    for (size_t i = 0; i < symbols.size(); ++i) {
      EXPECT_EQ(symbols[i], (packed[i * kBits / 8] >> (i * kBits % 8)) & ((1 << kBits) - 1));
      EXPECT_EQ(symbols[i], PackedSymbols<kBits>::At(packed.data(), static_cast<int64_t>(i)));
    }
    std::vector<uint8_t> back(packed.size());
    PackedOfSymbols<kBits>(symbols.data(), bytes, back.data());
    EXPECT_EQ(back, packed) << kBits << " bits, " << bytes << " bytes";
  }
}

TEST(SymbolsTest, PackedCodesComeBackAtEveryWidthAndSize) {
  ExpectSymbolsComeBack<1>();
  ExpectSymbolsComeBack<2>();
  ExpectSymbolsComeBack<4>();
  ExpectSymbolsComeBack<8>();
}

}  // namespace
}  // namespace decant
