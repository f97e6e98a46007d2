#include "common/compress/code/block.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/crc32c.h"
#include "common/base/half.h"
#include "common/base/random.h"
#include "tests/support/paths/paths.h"

namespace decant {
namespace {

using Bytes = std::vector<uint8_t>;

constexpr Coder kAllCoders[] = {Coder::kRaw,   Coder::kRans8,        Coder::kRans4,    Coder::kRans2,
                                Coder::kRans1, Coder::kBf16Exponent, Coder::kFp16High, Coder::kPositions};

// Sums of a few uniform numbers: bell-shaped, like codes of min-max groups.
Bytes BellBytes(uint64_t seed, size_t count, int32_t levels) {
  Bytes bytes(count);
  for (size_t i = 0; i < count; ++i) {
    float sum = 0;
    for (uint64_t k = 0; k < 6; ++k) sum += UniformFloat(seed, i * 6 + k);
    bytes[i] = static_cast<uint8_t>(sum / 6 * static_cast<float>(levels));
  }
  return bytes;
}

Bytes RandomBytes(uint64_t seed, size_t count) {
  Bytes bytes(count);
  for (size_t i = 0; i < count; ++i) bytes[i] = static_cast<uint8_t>(MixBits(seed, i));
  return bytes;
}

// Packed codes below `levels`.
Bytes PackedBell(uint64_t seed, size_t bytes, int32_t levels, int32_t bits) {
  const size_t per_byte = static_cast<size_t>(8 / bits);
  const Bytes codes = BellBytes(seed, bytes * per_byte, levels);
  Bytes packed(bytes);
  for (size_t i = 0; i < codes.size(); ++i) {
    packed[i / per_byte] =
        static_cast<uint8_t>(packed[i / per_byte] | codes[i] << (i % per_byte * static_cast<size_t>(bits)));
  }
  return packed;
}

Bytes Encoded(Coder coder, const Bytes& in, const SharedRansTable* shared = nullptr) {
  // A guard behind the room that an encoder may use.
  Bytes out(static_cast<size_t>(MaxBlockBytes(static_cast<int64_t>(in.size()))) + 16, 0xa5);
  const auto bytes = EncodeBlock(coder, in, absl::MakeSpan(out).subspan(0, out.size() - 16), shared);
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_LE(*bytes, static_cast<int64_t>(in.size()) + 1);
  for (size_t i = out.size() - 16; i < out.size(); ++i) EXPECT_EQ(out[i], 0xa5);
  out.resize(static_cast<size_t>(*bytes));
  return out;
}

void ExpectComesBack(Coder coder, const Bytes& in, const SharedRansTable* shared = nullptr) {
  const Bytes block = Encoded(coder, in, shared);
  Bytes back(in.size() + 16, 0x5a);
  const absl::Status status = DecodeBlock(block, absl::MakeSpan(back).subspan(0, in.size()), shared);
  ASSERT_TRUE(status.ok()) << status << " coder " << static_cast<int>(coder) << " of " << in.size();
  for (size_t i = in.size(); i < back.size(); ++i) ASSERT_EQ(back[i], 0x5a);
  back.resize(in.size());
  ASSERT_EQ(back, in) << "coder " << static_cast<int>(coder) << " of " << in.size();
}

TEST(BlockTest, EveryCoderReturnsEverySize) {
  const size_t sizes[] = {0,    1,    2,    3,    7,     8,     15,    31,    32,    33,    63,    64,   65,
                          255,  256,  257,  511,  512,   1023,  1024,  1025,  2047,  2048,  2049,  4095, 4096,
                          4097, 8191, 8192, 8193, 16383, 16384, 16385, 20000, 32768, 65535, 100001};
  for (const Coder coder : kAllCoders) {
    for (const size_t size : sizes) {
      ExpectComesBack(coder, RandomBytes(size, size));
      ExpectComesBack(coder, BellBytes(size, size, 256));
      ExpectComesBack(coder, BellBytes(size, size, 3));
      ExpectComesBack(coder, Bytes(size, 0));
      ExpectComesBack(coder, Bytes(size, 0xff));
    }
  }
}

// Test (i) of the methods' reference.
TEST(BlockTest, NeverExpandsByMoreThanTheFlagByte) {
  for (const Coder coder : kAllCoders) {
    for (size_t size = 0; size < 600; ++size) Encoded(coder, RandomBytes(size + 1000, size));
  }
  EXPECT_EQ(Encoded(Coder::kRans8, RandomBytes(7, 50000)).size(), 50001u);
  EXPECT_EQ(Encoded(Coder::kRans4, RandomBytes(7, 50000))[0], static_cast<uint8_t>(Coder::kRaw));
}

double Entropy(const Bytes& symbols) {
  std::vector<double> counts(256);
  for (const uint8_t s : symbols) counts[s] += 1;
  double bits = 0;
  for (const double c : counts) {
    if (c > 0) bits -= c * std::log2(c / static_cast<double>(symbols.size()));
  }
  return bits / 8;
}

TEST(BlockTest, SizeIsTheEntropyAndLittleMore) {
  for (const int32_t levels : {2, 3, 4, 5, 7, 9, 13, 16, 25, 64, 100, 200, 256}) {
    const int32_t bits = levels <= 2 ? 1 : levels <= 4 ? 2 : levels <= 16 ? 4 : 8;
    const size_t count = 1 << 18;
    const Bytes codes = BellBytes(static_cast<uint64_t>(levels), count, levels);
    const Bytes packed = PackedBell(static_cast<uint64_t>(levels), count / static_cast<size_t>(8 / bits), levels, bits);
    const Bytes block = Encoded(CoderOfBits(bits), packed);
    EXPECT_GE(static_cast<double>(block.size()), Entropy(codes)) << levels;
    if (levels > 2) {
      EXPECT_LE(static_cast<double>(block.size()), Entropy(codes) * 1.01 + 300) << levels;
    }
    ExpectComesBack(CoderOfBits(bits), packed);
  }
}

TEST(BlockTest, NibblesAreCodedByTheirSymbolsAndPaddingComesBack) {
  // 13 levels: nibbles 13 to 15 never occur, except in the last byte, as padding would.
  Bytes packed = PackedBell(3, 4097, 13, 4);
  packed.back() = 0xf1;
  ExpectComesBack(Coder::kRans4, packed);
  EXPECT_LT(Encoded(Coder::kRans4, packed).size(), packed.size() * 9 / 10);
}

TEST(BlockTest, SharedTableSavesTheTableOfShortBlocks) {
  RansCounts counts{};
  for (uint64_t seed = 100; seed < 110; ++seed) CountBlockSymbols(Coder::kRans4, PackedBell(seed, 4096, 13, 4), counts);
  const auto shared = SharedRansTable::Create(counts, CoderAlphabet(Coder::kRans4));
  ASSERT_TRUE(shared.ok());
  for (const size_t size : std::vector<size_t>{16, 64, 200, 1000, 2048, 20000}) {
    const Bytes packed = PackedBell(size, size, 13, 4);
    const Bytes own = Encoded(Coder::kRans4, packed);
    const Bytes with_shared = Encoded(Coder::kRans4, packed, &*shared);
    EXPECT_LE(with_shared.size(), own.size()) << size;
    ExpectComesBack(Coder::kRans4, packed, &*shared);
    if (size == 1000) {
      EXPECT_LT(with_shared.size() + 15, own.size());
    }
  }
  // Where the shared table fits badly a table of its own is taken.
  const Bytes constant(5000, 0xff);
  EXPECT_LT(Encoded(Coder::kRans4, constant, &*shared).size(), 200u);
  ExpectComesBack(Coder::kRans4, constant, &*shared);
}

TEST(BlockTest, SharedBlockNeedsItsTable) {
  RansCounts counts{};
  const auto of_nibbles = SharedRansTable::Create(counts, 16);
  counts[3] = 100000;
  const auto shared = SharedRansTable::Create(counts, 4);
  ASSERT_TRUE(of_nibbles.ok() && shared.ok());
  const Bytes in(300, 0xff);
  const Bytes block = Encoded(Coder::kRans2, in, &*shared);
  ASSERT_NE(block[0] & 0x80, 0);
  Bytes back(in.size());
  EXPECT_EQ(DecodeBlock(block, absl::MakeSpan(back)).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(DecodeBlock(block, absl::MakeSpan(back), &*of_nibbles).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(DecodeBlock(block, absl::MakeSpan(back), &*shared).ok());
}

TEST(BlockTest, ExponentsOfBf16ShrinkAndEveryPatternComesBack) {
  Bytes every(2 * 65536);
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    std::memcpy(every.data() + 2 * bits, &half, 2);
  }
  ExpectComesBack(Coder::kBf16Exponent, every);
  ExpectComesBack(Coder::kFp16High, every);

  Bytes gauss(2 * 30001);
  for (size_t i = 0; i < gauss.size() / 2; ++i) {
    float x = -6;
    for (uint64_t k = 0; k < 12; ++k) x += UniformFloat(5, i * 12 + k);
    const Bf16 half = ToBf16(x);
    std::memcpy(gauss.data() + 2 * i, &half, 2);
  }
  ExpectComesBack(Coder::kBf16Exponent, gauss);
  // Exponents of a bell curve hold about 2.6 bits: 16 bits become about 10.7.
  const double ratio =
      static_cast<double>(Encoded(Coder::kBf16Exponent, gauss).size()) / static_cast<double>(gauss.size());
  EXPECT_LT(ratio, 0.68);
  EXPECT_GT(ratio, 0.60);
  // A segment of an odd number of bytes is not 16-bit values.
  gauss.pop_back();
  EXPECT_EQ(Encoded(Coder::kBf16Exponent, gauss)[0], 0);
}

TEST(BlockTest, PositionsCostOneByteEachAndAnyOrderComesBack) {
  const auto block_of = [](const std::vector<uint16_t>& positions) {
    Bytes in(positions.size() * 2);
    if (!in.empty()) std::memcpy(in.data(), positions.data(), in.size());
    ExpectComesBack(Coder::kPositions, in);
    return Encoded(Coder::kPositions, in);
  };
  EXPECT_EQ(block_of({0, 1, 2, 3}), (Bytes{7, 0, 0, 0, 0}));
  EXPECT_EQ(block_of({5, 6, 134, 135, 400}), (Bytes{7, 5, 0, 127, 0, 0x88, 2}));
  EXPECT_EQ(block_of({5, 6, 135}), (Bytes{7, 5, 0, 0x80, 1}));
  // Two heads back to back.
  EXPECT_EQ(block_of({0, 1, 9, 0, 1, 2, 3}), (Bytes{7, 0, 0, 7, 0xf6, 0xff, 3, 0, 0, 0}));
  EXPECT_EQ(block_of({65535, 0, 65535}).front(), 0);  // would be 3 + 1 + 3 bytes: raw
  EXPECT_EQ(block_of({}), Bytes{0});
}

// Blocks written once, by version 1: two bytes of size, then the block.
TEST(BlockTest, GoldenBlocksDecodeAsEver) {
  const struct {
    const char* name;
    int flag;
    uint32_t crc;  // of what they hold
  } goldens[] = {
      {"raw_700.bin", 0x00, 0x4c6f27a2},           {"rans8_700.bin", 0x00, 0x4f471468},
      {"rans8_3000.bin", 0x31, 0xf8e559cf},        {"rans8_40000.bin", 0x51, 0x0edbca56},
      {"rans4_700.bin", 0x12, 0x2f9a17b2},         {"rans4_3000.bin", 0x32, 0xb7fdd356},
      {"rans2_700.bin", 0x13, 0x8a923fbf},         {"rans2_3000.bin", 0x33, 0x72a9083d},
      {"rans1_700.bin", 0x14, 0x125fb850},         {"rans1_3000.bin", 0x34, 0xb8deb256},
      {"bf16_exponent_700.bin", 0x05, 0x05f8dbf6}, {"bf16_exponent_3000.bin", 0x15, 0x58f7c6f9},
      {"fp16_high_700.bin", 0x00, 0x100e9c72},     {"fp16_high_3000.bin", 0x36, 0x29830e68},
      {"positions_700.bin", 0x07, 0xfb6b32e2},     {"positions_3000.bin", 0x07, 0xbb298af1},
  };
  for (const auto& golden : goldens) {
    SCOPED_TRACE(golden.name);
    std::ifstream file(absl::StrCat(SourceDir(), "/tests/golden/blocks/v1/", golden.name), std::ios::binary);
    const Bytes bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    ASSERT_GT(bytes.size(), 3u);
    EXPECT_EQ(bytes[2], golden.flag);
    Bytes back(bytes[0] + size_t{256} * bytes[1]);
    const absl::Status status = DecodeBlock(absl::MakeConstSpan(bytes).subspan(2), absl::MakeSpan(back));
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(Crc32c(back.data(), back.size()), golden.crc);
  }
}

TEST(BlockTest, RoomThatIsTooSmallIsRefused) {
  Bytes out(10);
  const auto status = EncodeBlock(Coder::kRans8, Bytes(10), absl::MakeSpan(out)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("needs room for 11, not 10"), absl::string_view::npos) << status;
}

TEST(BlockTest, HostileBytesAreDataLossAndStayInBounds) {
  // Every truncation, every flag, every single-bit fault of the first bytes, wrong sizes: an error or bytes, never a
  // crash; under the address sanitiser the vectors have exactly their size.
  for (const Coder coder : kAllCoders) {
    for (const size_t size : std::vector<size_t>{300, 5000}) {
      const Bytes in = coder == Coder::kRans2 ? PackedBell(1, size, 3, 2) : BellBytes(1, size, 9);
      const Bytes block = Encoded(coder, in);
      Bytes out(in.size());
      for (size_t cut = 0; cut < block.size(); cut += 1 + cut / 8) {
        const Bytes shorter(block.begin(), block.begin() + static_cast<int64_t>(cut));
        EXPECT_EQ(DecodeBlock(shorter, absl::MakeSpan(out)).code(), absl::StatusCode::kDataLoss) << cut;
      }
      for (size_t bit = 0; bit < std::min<size_t>(block.size(), 80) * 8; ++bit) {
        Bytes broken = block;
        broken[bit / 8] = static_cast<uint8_t>(broken[bit / 8] ^ 1u << (bit % 8));
        (void)DecodeBlock(broken, absl::MakeSpan(out));
      }
      Bytes longer = block;
      longer.push_back(0);
      EXPECT_EQ(DecodeBlock(longer, absl::MakeSpan(out)).code(), absl::StatusCode::kDataLoss);
      Bytes other(in.size() + 2);
      EXPECT_EQ(DecodeBlock(block, absl::MakeSpan(other)).code(), absl::StatusCode::kDataLoss);
      for (int flag = 0; flag < 256; ++flag) {
        Bytes renamed = block;
        renamed[0] = static_cast<uint8_t>(flag);
        (void)DecodeBlock(renamed, absl::MakeSpan(out));
      }
    }
  }
  Bytes out(4);
  EXPECT_EQ(DecodeBlock({}, absl::MakeSpan(out)).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(DecodeBlock(Bytes{0x0f, 1, 2, 3, 4}, absl::MakeSpan(out)).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(DecodeBlock(Bytes{0x71, 1, 2, 3, 4}, absl::MakeSpan(out)).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(DecodeBlock(Bytes{0x10, 1, 2, 3, 4}, absl::MakeSpan(out)).code(), absl::StatusCode::kDataLoss);
}

TEST(BlockTest, GapsBeyondAPositionAreDataLoss) {
  Bytes out(2);
  EXPECT_TRUE(DecodeBlock(Bytes{7, 0xff, 0xff, 0x03}, absl::MakeSpan(out)).ok());
  EXPECT_EQ(DecodeBlock(Bytes{7, 0xff, 0xff, 0x04}, absl::MakeSpan(out)).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(DecodeBlock(Bytes{7, 0x80, 0x80, 0x80, 0}, absl::MakeSpan(out)).code(), absl::StatusCode::kDataLoss);
}

TEST(BlockTest, BytesBehindTheLastGapAreDataLoss) {
  Bytes out(4);
  EXPECT_TRUE(DecodeBlock(Bytes{7, 1, 2}, absl::MakeSpan(out)).ok());
  EXPECT_EQ(DecodeBlock(Bytes{7, 1, 2, 3}, absl::MakeSpan(out)).code(), absl::StatusCode::kDataLoss);
}

TEST(BlockTest, WrongWordIsNoticedAtTheEnd) {
  const Bytes in = BellBytes(2, 3000, 20);
  Bytes block = Encoded(Coder::kRans8, in);
  block[block.size() - 1] ^= 0x40;
  Bytes out(in.size());
  EXPECT_EQ(DecodeBlock(block, absl::MakeSpan(out)).code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace decant
