#include "common/base/crc32c.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "common/base/random.h"

namespace decant {
namespace {

uint32_t BitwiseCrc32c(const std::string& data) {
  uint32_t crc = ~0u;
  for (const char c : data) {
    crc ^= static_cast<uint8_t>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1u) ? 0x82f63b78u : 0u);
  }
  return ~crc;
}

TEST(Crc32cTest, MatchesThePublishedCheckValue) { EXPECT_EQ(Crc32c("123456789", 9), 0xe3069283u); }

TEST(Crc32cTest, MatchesTheBitwiseDefinitionAtEverySizeAroundAStream) {
  std::string data;
  for (uint64_t i = 0; i < 7000; ++i) data.push_back(static_cast<char>(MixBits(1, i)));
  for (const size_t size : {0u, 1u, 7u, 8u, 9u, 3071u, 3072u, 3073u, 6144u, 6999u}) {
    const std::string part = data.substr(0, size);
    EXPECT_EQ(Crc32c(part.data(), size), BitwiseCrc32c(part)) << size;
    std::vector<char> copy(size + 1, 'x');
    EXPECT_EQ(CopyWithCrc32c(copy.data(), part.data(), size), BitwiseCrc32c(part)) << size;
    EXPECT_EQ(std::string(copy.data(), size), part);
    EXPECT_EQ(copy[size], 'x');
  }
}

TEST(Crc32cTest, TwoRunsAreJoinedWithoutTheirBytes) {
  std::string data;
  for (uint64_t i = 0; i < 5000; ++i) data.push_back(static_cast<char>(MixBits(2, i)));
  for (const size_t size : {0u, 1u, 2u, 3071u, 5000u}) {
    for (const size_t cut : {size_t{0}, size_t{1}, size / 3, size}) {
      if (cut > size) continue;
      const uint32_t first = Crc32c(data.data(), cut);
      const uint32_t second = Crc32c(data.data() + cut, size - cut);
      EXPECT_EQ(JoinCrc32c(first, second, size - cut), Crc32c(data.data(), size)) << size << " cut at " << cut;
    }
  }
}

// Long copies go past the caches, line by line of the destination: wherever it begins and ends, every byte comes across
// and none beyond it is touched.
TEST(Crc32cTest, LongCopiesAreExactAtEveryAlignment) {
  std::string data;
  for (uint64_t i = 0; i < 70000; ++i) data.push_back(static_cast<char>(MixBits(2, i)));
  for (const size_t size : {16383u, 16384u, 16385u, 18431u, 18432u, 18433u, 65536u, 69000u}) {
    for (const size_t shift : {0u, 1u, 15u, 63u, 64u}) {
      const std::string part = data.substr(shift, size);
      std::vector<char> copy(size + 130, 'x');
      char* const to = copy.data() + 1 + shift;
      EXPECT_EQ(CopyWithCrc32c(to, data.data() + shift, size, 5), Crc32c(part.data(), size, 5)) << size;
      EXPECT_TRUE(part == std::string(to, size)) << size << " " << shift;
      EXPECT_TRUE(to[-1] == 'x' && to[size] == 'x');
      std::vector<char> plain(size + 130, 'x');
      char* const there = plain.data() + 1 + shift;
      CopyPastCaches(there, data.data() + shift, size);
      EXPECT_TRUE(plain == copy) << size << " " << shift;
    }
  }
}

TEST(Crc32cTest, ContinuesFromAnEarlierValue) { EXPECT_EQ(Crc32c("6789", 4, Crc32c("12345", 5)), 0xe3069283u); }

}  // namespace
}  // namespace decant
