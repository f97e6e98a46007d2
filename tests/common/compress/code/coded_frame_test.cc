#include "common/compress/code/coded_frame.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>

#include "common/base/random.h"
#include "common/kv/envelope.h"
#include "common/kv/rows.h"
#include "tests/common/compress/code/coded_samples.h"
#include "tests/common/kv/frame_samples.h"
#include "tests/support/paths/paths.h"

namespace decant {
namespace {

using ::testing::HasSubstr;

std::string Coded(const std::string& frame) { return CodeFrame(ParseFrame(frame).value()); }

// From a copy that ends where its bytes end, so that a sanitiser sees every read behind them.
absl::StatusOr<RestoredFrame> RestoreExact(absl::string_view bytes) {
  const std::unique_ptr<char[]> copy(new char[bytes.size()]);
  std::memcpy(copy.get(), bytes.data(), bytes.size());
  return RestoreFrame({copy.get(), bytes.size()});
}

std::string Resealed(std::string coded) {
  const auto size = static_cast<uint32_t>(coded.size());
  std::memcpy(coded.data() + 8, &size, sizeof(size));
  SealEnvelope(reinterpret_cast<uint8_t*>(coded.data()), static_cast<int64_t>(coded.size()));
  return coded;
}

TEST(CodedFrameTest, EveryFrameComesBackExactlyAndShorter) {
  for (const NamedFrame& sample : BellFrames()) {
    SCOPED_TRACE(sample.name);
    const std::string coded = Coded(sample.bytes);
    ASSERT_FALSE(coded.empty());
    EXPECT_LT(coded.size(), sample.bytes.size());
    EXPECT_EQ(coded.size() % 16, 0u);
    const auto restored = RestoreExact(coded);
    ASSERT_TRUE(restored.ok()) << restored.status();
    EXPECT_TRUE(restored->frame == sample.bytes);
    EXPECT_EQ(restored->coded_bytes, static_cast<int64_t>(coded.size()));
  }
}

TEST(CodedFrameTest, FullPrecisionShrinksByWhatItsExponentsSay) {
  FrameHeader header = SampleHeader(FormatId::kFullBf16, FormatId::kNone, 64);
  header.head_dim = 64;
  header.heads = 8;
  const std::vector<int32_t> counts = TierCounts({64, 0, 64, 0, 64, 0, 64, 0, 64, 0, 64, 0, 64, 0, 64, 0});
  const std::string full = BellFrame(header, counts);
  // Sign and mantissa are 8 of 16 bits; the exponents of a bell have an entropy of about 2.2.
  EXPECT_NEAR(static_cast<double>(Coded(full).size()) / static_cast<double>(full.size()), 0.65, 0.03);
}

TEST(CodedFrameTest, FramesOfEverySpanComeBack) {
  for (const int32_t span : {1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 257}) {
    for (const FormatId id : {FormatId::kFullBf16, FormatId::kK4V2, FormatId::kK4V1}) {
      FrameHeader header = SampleHeader(id, FormatId::kNone, span);
      header.head_dim = 40;
      header.explicit_positions = span % 2 == 1;
      const std::string frame = BellFrame(header, TierCounts({header.explicit_positions ? (span + 1) / 2 : span, 0,
                                                              header.explicit_positions ? 0 : span, 0}));
      const std::string coded = Coded(frame);
      if (coded.empty()) continue;
      const auto restored = RestoreExact(coded);
      ASSERT_TRUE(restored.ok()) << restored.status() << " span " << span;
      ASSERT_TRUE(restored->frame == frame) << span;
    }
  }
}

TEST(CodedFrameTest, WhatDoesNotShrinkTravelsAsItIs) {
  const std::string noise = SampleFrame(SampleHeader(FormatId::kK4V2, FormatId::kNone, 7), {7, 0, 7, 0});
  EXPECT_EQ(Coded(noise), "");
  // Nor does what its zero padding would not bring back.
  FrameHeader header = SampleHeader(FormatId::kK8V4, FormatId::kNone, 61);
  header.head_dim = 40;
  std::string padded = BellFrame(header, TierCounts({61, 0, 61, 0}));
  ASSERT_NE(Coded(padded), "");
  const FrameView view = ParseFrame(padded).value();
  const FrameRun& run = view.layout.run(0, 0, kHigh);
  ASSERT_GT(run.key_meta, run.keys + 61 * 40);
  padded[static_cast<size_t>(run.key_meta - 1)] = 1;
  SealEnvelope(reinterpret_cast<uint8_t*>(padded.data()), static_cast<int64_t>(padded.size()));
  EXPECT_EQ(Coded(padded), "");
}

TEST(CodedFrameTest, DamageIsALoss) {
  for (const NamedFrame& sample : BellFrames()) {
    const std::string coded = Coded(sample.bytes);
    for (size_t i = 0; i < coded.size(); i += 1 + i / 64) {
      std::string damaged = coded;
      damaged[i] = static_cast<char>(damaged[i] ^ 0x10);
      const auto status = RestoreExact(damaged).status();
      EXPECT_TRUE(absl::IsDataLoss(status) || (i >= 4 && i < 6 && absl::IsFailedPrecondition(status)))
          << sample.name << " byte " << i << ": " << status;
    }
    for (size_t size = 0; size < coded.size(); size += 1 + size / 16) {
      EXPECT_TRUE(absl::IsDataLoss(RestoreExact(absl::string_view(coded).substr(0, size)).status())) << size;
    }
    EXPECT_TRUE(absl::IsDataLoss(RestoreFrame(coded, static_cast<int64_t>(coded.size()) + 1).status()));
    EXPECT_TRUE(absl::IsDataLoss(RestoreFrame(coded, -1).status()));
  }
}

// With a checksum that fits, whatever is behind it: refused, or a frame that its own checksum refuses.
TEST(CodedFrameTest, ForgedBytesNeverPassAsTheFrame) {
  for (const NamedFrame& sample : BellFrames()) {
    const std::string coded = Coded(sample.bytes);
    for (uint64_t round = 0; round < 200; ++round) {
      std::string forged = coded;
      const auto at = 16 + static_cast<size_t>(MixBits(3, round) % (forged.size() - 16));
      forged[at] = static_cast<char>(MixBits(4, round));
      if (forged == coded) continue;
      const auto restored = RestoreExact(Resealed(forged));
      if (restored.ok() && restored->frame != sample.bytes) {
        EXPECT_FALSE(ParseFrame(restored->frame).ok()) << sample.name << " byte " << at;
      }
    }
    EXPECT_THAT(RestoreExact(Resealed(coded + std::string(16, '\0'))).status().message(),
                HasSubstr("behind the last block"));
    EXPECT_TRUE(absl::IsDataLoss(RestoreExact(Resealed(coded.substr(0, 16 + 32))).status()));
  }
}

TEST(CodedFrameTest, FewBytesCannotAskForMuchMemory) {
  FrameHeader header = SampleHeader(FormatId::kFullBf16, FormatId::kNone, 4096);
  header.head_dim = 64;
  const std::string frame = BellFrame(header, TierCounts({4096, 0, 4096, 0}));
  std::string coded = Coded(frame);
  ASSERT_GT(frame.size(), 64u * 1024);
  coded.resize(1024);
  EXPECT_THAT(RestoreExact(Resealed(coded)).status().message(), HasSubstr("1024 bytes for a frame of"));
}

TEST(CodedFrameTest, AnotherVersionIsAPreconditionNotALoss) {
  std::string coded = Coded(BellFrames()[0].bytes);
  coded[4] = 2;
  EXPECT_TRUE(absl::IsFailedPrecondition(RestoreExact(Resealed(coded)).status()));
}

TEST(CodedFrameTest, GoldensOfVersion1StayIdentical) {
  for (const NamedFrame& sample : BellFrames()) {
    const std::string path = SourceDir() + "/tests/golden/coded/v1/" + sample.name + ".bin";
    const std::string coded = Coded(sample.bytes);
    if (std::getenv("DECANT_WRITE_GOLDEN") != nullptr) std::ofstream(path, std::ios::binary) << coded;
    std::ifstream file(path, std::ios::binary);
    const std::string golden{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    EXPECT_TRUE(golden == coded) << path;
    const auto restored = RestoreExact(golden);
    ASSERT_TRUE(restored.ok()) << path << ": " << restored.status();
    EXPECT_TRUE(restored->frame == sample.bytes) << path;
  }
}

}  // namespace
}  // namespace decant
