#include "gpu/kernels/codec/code_blocks.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "common/base/random.h"
#include "tests/gpu/kernels/codec/codec_case.h"
#include "tests/support/device_array.h"

namespace decant {
namespace {

using CodeBlocksTest = CodecCase;
DECANT_ON_KERNEL_DEVICES(CodeBlocksTest);

constexpr Coder kCoders[] = {Coder::kRaw,   Coder::kRans8,        Coder::kRans4,   Coder::kRans2,
                             Coder::kRans1, Coder::kBf16Exponent, Coder::kFp16High};

// Skewed bytes: `skew` 0 is noise, more makes small numbers likelier in every nibble.
std::string Segment(uint64_t seed, int64_t bytes, int32_t skew) {
  std::string segment;
  for (int64_t i = 0; i < bytes; ++i) {
    const uint64_t draw = MixBits(seed, static_cast<uint64_t>(i));
    uint64_t byte = draw & 0xffu;
    for (int32_t k = 1; k <= skew; ++k) byte &= draw >> (8 * k);
    segment.push_back(static_cast<char>(byte));
  }
  return segment;
}

struct Case {
  Coder coder;
  std::string segment;
};

std::vector<Case> Cases(bool large) {
  std::vector<Case> cases;
  for (const Coder coder : kCoders) {
    for (const int64_t bytes : {0, 1, 2, 3, 31, 32, 33, 255, 256, 257, 1025, 4099, 17000}) {
      if (!large && bytes > 1025) continue;
      for (const int32_t skew : {0, 1, 3}) cases.push_back({coder, Segment(static_cast<uint64_t>(bytes), bytes, skew)});
    }
    cases.push_back({coder, std::string(777, '\x11')});  // one symbol alone
    cases.push_back({coder, std::string(2048, '\0')});
  }
  return cases;
}

std::string Reference(const Case& one) {
  std::string block(one.segment.size() + 1, '\0');
  const auto bytes = EncodeBlock(one.coder, {reinterpret_cast<const uint8_t*>(one.segment.data()), one.segment.size()},
                                 {reinterpret_cast<uint8_t*>(block.data()), block.size()});
  block.resize(static_cast<size_t>(*bytes));
  return block;
}

std::vector<uint8_t> Bytes(const std::string& text) { return {text.begin(), text.end()}; }

TEST_P(CodeBlocksTest, BlocksAreThoseOfTheReferenceAndComeBack) {
  const auto device = NewDevice();
  const auto stream = device->NewStream();
  const std::vector<Case> cases = Cases(GetParam().large_cases);
  std::string segments;
  std::vector<SegmentBlock> runs;
  int64_t room = 0;
  for (const Case& one : cases) {
    SegmentBlock run;
    run.coder = one.coder;
    run.segment = static_cast<int64_t>(segments.size());
    run.segment_bytes = static_cast<int64_t>(one.segment.size());
    run.block = room;
    room += MaxBlockBytes(run.segment_bytes) + 1;  // a byte between blocks that nobody may touch
    segments += one.segment;
    runs.push_back(run);
  }
  const DeviceArray<uint8_t> in(*stream, Bytes(segments));
  const DeviceArray<uint8_t> blocks(*stream, std::vector<uint8_t>(static_cast<size_t>(room), 0x5a));
  const DeviceArray<SegmentBlock> device_runs(*stream, runs);
  const DeviceArray<int64_t> sizes(*stream, runs.size());
  EncodeBlocks(*stream,
               {in.data(), device_runs.data(), static_cast<int32_t>(runs.size()), blocks.data(), sizes.data()});
  const std::vector<uint8_t> made = blocks.Read();
  const std::vector<int64_t> made_sizes = sizes.Read();
  int32_t coded = 0;
  for (size_t i = 0; i < cases.size(); ++i) {
    const std::string expected = Reference(cases[i]);
    ASSERT_EQ(made_sizes[i], static_cast<int64_t>(expected.size()))
        << "coder " << static_cast<int>(cases[i].coder) << ", " << cases[i].segment.size() << " bytes";
    const auto first = made.begin() + runs[i].block;
    EXPECT_EQ(std::string(first, first + made_sizes[i]), expected);
    EXPECT_EQ(made[static_cast<size_t>(runs[i].block + MaxBlockBytes(runs[i].segment_bytes))], 0x5a);
    runs[i].block_bytes = made_sizes[i];
    coded += expected[0] != 0 ? 1 : 0;
  }
  EXPECT_GT(coded, 40);

  const DeviceArray<SegmentBlock> sized_runs(*stream, runs);
  const DeviceArray<uint8_t> back(*stream, std::vector<uint8_t>(segments.size(), 0x77));
  const DeviceArray<BlockOutcome> outcomes(*stream, runs.size());
  DecodeBlocks(*stream,
               {blocks.data(), sized_runs.data(), static_cast<int32_t>(runs.size()), back.data(), outcomes.data()});
  EXPECT_EQ(back.Read(), Bytes(segments));
  for (const BlockOutcome outcome : outcomes.Read()) EXPECT_EQ(outcome, BlockOutcome::kDecoded);
}

// Every byte of a block changed, and every end cut off: DecodeBlock's verdict, and nothing beside the segment touched.
TEST_P(CodeBlocksTest, DamageIsSeen) {
  constexpr int64_t kDamagedBytes = 120;
  const auto device = NewDevice();
  const auto stream = device->NewStream();
  std::string bytes;
  std::vector<SegmentBlock> runs;
  std::vector<BlockOutcome> expected;
  int64_t segments = 0;
  for (const Coder coder : {Coder::kRans4, Coder::kBf16Exponent}) {
    const Case one{coder, Segment(7, kDamagedBytes, 6)};
    const std::string block = Reference(one);
    ASSERT_NE(block[0], 0);
    std::vector<std::string> damaged;
    for (size_t i = 0; i < block.size(); ++i) {
      damaged.push_back(block);
      damaged.back()[i] ^= static_cast<char>(1 << (i % 8));
      damaged.push_back(block.substr(0, i));
    }
    damaged.push_back(block + '\0');
    damaged.push_back(std::string("\x07\x01", 2));
    for (const std::string& bad : damaged) {
      SegmentBlock run;
      run.segment = segments;
      run.segment_bytes = kDamagedBytes;
      run.block = static_cast<int64_t>(bytes.size());
      run.block_bytes = static_cast<int64_t>(bad.size());
      segments += kDamagedBytes + 1;
      bytes += bad;
      runs.push_back(run);
      std::string out(kDamagedBytes, '\0');
      const absl::Status status = DecodeBlock({reinterpret_cast<const uint8_t*>(bad.data()), bad.size()},
                                              {reinterpret_cast<uint8_t*>(out.data()), out.size()});
      expected.push_back(status.ok() ? BlockOutcome::kDecoded : BlockOutcome::kDamaged);
      if (!bad.empty() && (status.code() == absl::StatusCode::kFailedPrecondition || bad[0] == 7)) {
        expected.back() = BlockOutcome::kForTheHost;
      }
    }
  }
  const DeviceArray<uint8_t> blocks(*stream, Bytes(bytes));
  const DeviceArray<SegmentBlock> device_runs(*stream, runs);
  const DeviceArray<uint8_t> out(*stream, std::vector<uint8_t>(static_cast<size_t>(segments), 0x77));
  const DeviceArray<BlockOutcome> outcomes(*stream, runs.size());
  DecodeBlocks(*stream,
               {blocks.data(), device_runs.data(), static_cast<int32_t>(runs.size()), out.data(), outcomes.data()});
  const std::vector<BlockOutcome> found = outcomes.Read();
  const std::vector<uint8_t> written = out.Read();
  for (size_t i = 0; i < runs.size(); ++i) {
    const bool positions = expected[i] == BlockOutcome::kForTheHost && device->kind() == DeviceKind::kHost;
    if (!positions) {
      EXPECT_EQ(found[i], expected[i]) << i;
    }
    EXPECT_EQ(written[static_cast<size_t>(runs[i].segment + kDamagedBytes)], 0x77) << i;
  }
}

}  // namespace
}  // namespace decant
