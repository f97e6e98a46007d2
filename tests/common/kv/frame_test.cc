#include "common/kv/frame.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>

#include "common/base/random.h"
#include "common/kv/batch.h"
#include "common/kv/envelope.h"
#include "common/kv/frame_fields.h"
#include "tests/common/kv/frame_samples.h"
#include "tests/support/paths/paths.h"

namespace decant {
namespace {

using ::testing::HasSubstr;

// A copy that ends where its bytes end, so that a sanitiser sees every read behind them.
absl::StatusOr<std::vector<BatchPart>> SplitExact(absl::string_view bytes) {
  const std::unique_ptr<char[]> copy(new char[bytes.size()]);
  std::memcpy(copy.get(), bytes.data(), bytes.size());
  return SplitBatch({copy.get(), bytes.size()});
}

void Reseal(std::string& frame) {
  SealEnvelope(reinterpret_cast<uint8_t*>(frame.data()), static_cast<int64_t>(frame.size()));
}

TEST(FrameTest, TellsEverythingItsHeaderWasGiven) {
  FrameHeader header = SampleHeader(FormatId::kK8V4, FormatId::kK4V2, 8);
  header.key_form.rope = 0;
  const std::string bytes = SampleFrame(header, {2, 3, 0, 4});
  const auto frame = ParseFrame(bytes);
  ASSERT_TRUE(frame.ok()) << frame.status();
  EXPECT_EQ(frame->header.formats[kHigh], FormatId::kK8V4);
  EXPECT_EQ(frame->header.formats[kLow], FormatId::kK4V2);
  EXPECT_EQ(frame->header.provenance, Provenance::kPruned);
  EXPECT_EQ(frame->header.key_form.rope, 0);
  EXPECT_TRUE(frame->header.k_norm_applied);
  EXPECT_TRUE(frame->header.explicit_positions);
  EXPECT_EQ(frame->header.first_layer, 3);
  EXPECT_EQ(frame->header.layers, 1);
  EXPECT_EQ(frame->header.first_head, 1);
  EXPECT_EQ(frame->header.heads, 2);
  EXPECT_EQ(frame->header.head_dim, 8);
  EXPECT_EQ(frame->header.first_position, 128);
  EXPECT_EQ(frame->header.span, 8);
  EXPECT_EQ(frame->header.model_fingerprint, header.model_fingerprint);
  EXPECT_EQ(frame->header.profile, header.profile);
  EXPECT_EQ(frame->header.context, header.context);
  EXPECT_EQ(frame->header.key_error.squared_difference, 0.25);
  EXPECT_EQ(frame->header.value_error.squared_norm, 32);
  EXPECT_EQ(frame->layout.run(0, 0, kHigh).tokens, 2);
  EXPECT_EQ(frame->layout.run(0, 0, kLow).tokens, 3);
  EXPECT_EQ(frame->layout.run(0, 1, kHigh).tokens, 0);
  EXPECT_EQ(frame->layout.run(0, 1, kLow).tokens, 4);
  EXPECT_EQ(frame->bytes.size(), bytes.size());
  EXPECT_EQ(WireBytes(header, TierCounts({2, 3, 0, 4})), static_cast<int64_t>(bytes.size()));
}

TEST(FrameTest, PlacesAlignedSegmentsBehindEachOther) {
  FrameHeader header = SampleHeader(FormatId::kK8V4, FormatId::kNone, 5);
  header.heads = 1;
  const FrameLayout layout = LayOutFrame(header, TierCounts({5, 0}), 64);
  const FrameRun& run = layout.run(0, 0, kHigh);
  EXPECT_EQ(run.keys, 64 + 160 + 16);
  EXPECT_EQ(run.key_meta, run.keys + 48);      // 5 x 8 bytes
  EXPECT_EQ(run.values, run.key_meta + 32);    // 5 x 4
  EXPECT_EQ(run.value_meta, run.values + 32);  // 5 x 4
  EXPECT_EQ(run.positions, -1);
  EXPECT_EQ(layout.bytes, run.value_meta + 32 - 64);
}

TEST(FrameTest, OffsetsOfABatchCountFromItsFirstByte) {
  const std::string first = SampleFrame(SampleHeader(FormatId::kK8V4, FormatId::kNone, 5), {5, 0, 5, 0});
  const std::string batch = first + first;
  const auto parts = SplitBatch(batch);
  ASSERT_TRUE(parts.ok()) << parts.status();
  ASSERT_EQ(parts->size(), 2u);
  const FrameRun& a = (*parts)[0].frame.layout.run(0, 1, kHigh);
  const FrameRun& b = (*parts)[1].frame.layout.run(0, 1, kHigh);
  EXPECT_EQ(b.values - a.values, static_cast<int64_t>(first.size()));
  EXPECT_EQ(std::memcmp(batch.data() + a.keys, batch.data() + b.keys, 40), 0);
}

TEST(FrameTest, OverlayFollowsItsFrame) {
  const std::string frame = SampleFrame(SampleHeader(FormatId::kK8V4, FormatId::kK4V2, 8), {2, 3, 0, 1});
  const std::string batch = frame + WithSampleOverlay(frame, 77);
  const auto parts = SplitBatch(batch);
  ASSERT_TRUE(parts.ok()) << parts.status();
  ASSERT_EQ(parts->size(), 2u);
  EXPECT_FALSE((*parts)[0].overlay.has_value());
  ASSERT_TRUE((*parts)[1].overlay.has_value());
  const OverlayView& overlay = *(*parts)[1].overlay;
  EXPECT_EQ(overlay.header.first_query, 77);
  float score;
  std::memcpy(&score, batch.data() + overlay.layout.run(0, 1, kLow), 4);
  EXPECT_EQ(score, 3.0f);
}

TEST(FrameTest, OverlayOfAnotherFrameIsLost) {
  const std::string a = SampleFrame(SampleHeader(FormatId::kK8V4, FormatId::kK4V2, 8), {2, 3, 0, 1});
  const std::string b = SampleFrame(SampleHeader(FormatId::kK8V4, FormatId::kK4V2, 8), {2, 3, 1, 1});
  const std::string overlay = WithSampleOverlay(b, 0).substr(b.size());
  EXPECT_EQ(SplitExact(a + overlay).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(SplitExact(overlay).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(SplitExact(b + overlay + overlay).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(SplitExact(b + overlay).ok());
  EXPECT_TRUE(SplitExact("").ok());
}

TEST(FrameTest, AnotherVersionIsAPreconditionNotALoss) {
  std::string bytes = SampleFrame(SampleHeader(FormatId::kK8V4, FormatId::kNone, 5), {5, 0, 5, 0});
  bytes[4] = 3;
  Reseal(bytes);
  const absl::Status status = ParseFrame(bytes).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("version 3"));
}

TEST(FrameTest, TruncatedAnywhereIsAnError) {
  for (const NamedBatch& sample : SampleBatches()) {
    const auto whole = SplitExact(sample.bytes);
    ASSERT_TRUE(whole.ok()) << sample.name << whole.status();
    for (size_t size = 1; size < sample.bytes.size(); ++size) {
      const auto parts = SplitExact(absl::string_view(sample.bytes).substr(0, size));
      // A batch cut between two parts is a shorter batch.
      if (parts.ok()) {
        size_t covered = 0;
        for (const BatchPart& part : *parts) {
          covered += part.frame.bytes.size() + (part.overlay ? part.overlay->bytes.size() : 0);
        }
        EXPECT_EQ(covered, size) << sample.name;
      }
    }
  }
}

TEST(FrameTest, AnyFlippedBitIsAnError) {
  for (const NamedBatch& sample : SampleBatches()) {
    if (sample.name == "batch") continue;  // its parts are the other samples
    std::string bytes = sample.bytes;
    for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
      bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
      EXPECT_FALSE(SplitExact(bytes).ok()) << sample.name << " bit " << bit;
      bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
    }
  }
}

// Past the checksum every field is checked by itself: flips under a fresh checksum never crash and never read outside.
TEST(FrameTest, ResealedDamageNeverReadsOutside) {
  const std::string sample =
      WithSampleOverlay(SampleFrame(SampleHeader(FormatId::kK8V4, FormatId::kK4V2, 8), {2, 3, 1, 1}), 9);
  const std::string frame = sample.substr(0, ParseFrame(sample)->bytes.size());
  int refused = 0;
  for (size_t bit = 0; bit < 8 * 160; ++bit) {
    std::string bytes = frame;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
    Reseal(bytes);
    refused += SplitExact(bytes).ok() ? 0 : 1;
  }
  EXPECT_GT(refused, 200);
  const std::string overlay = sample.substr(frame.size());
  for (size_t bit = 0; bit < 8 * overlay.size(); ++bit) {
    std::string bytes = overlay;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
    Reseal(bytes);
    (void)SplitExact(frame + bytes);
  }
}

TEST(FrameTest, RandomBytesAreRefused) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    std::string bytes(256, '\0');
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(MixBits(seed, i));
    std::memcpy(bytes.data(), "DCNF", 4);
    EXPECT_FALSE(SplitExact(bytes).ok());
  }
}

struct Damage {
  const char* what;
  size_t offset;
  std::vector<uint8_t> bytes;
  const char* message;
};

TEST(FrameTest, NamesTheFieldThatIsWrong) {
  FrameHeader header = SampleHeader(FormatId::kK8V4, FormatId::kK4V2, 8);
  const std::string frame = SampleFrame(header, {2, 3, 0, 1});
  const auto first_positions = static_cast<size_t>(ParseFrame(frame)->layout.run(0, 0, kHigh).positions);
  const Damage damages[] = {
      {"unknown flag", 16, {20}, "flags"},
      {"unknown provenance", 20, {9}, "provenance"},
      {"unspecified provenance", 20, {0}, "provenance"},
      {"unknown format", 21, {77}, "format 77"},
      {"tier without a format", 22, {0}, "without a format"},
      {"reserved byte", 23, {1}, "reserved"},
      {"no layers", 26, {0, 0}, "layers"},
      {"layers past the last", 26, {255, 255}, "layers"},
      {"more layers than counts", 26, {255, 0}, "directory"},
      {"heads past the last", 28, {255, 255}, "heads"},
      {"head_dim not of 8", 32, {9, 0}, "head_dim"},
      {"another head_dim", 32, {16, 0}, "bytes"},
      {"no span", 34, {0, 0}, "span"},
      {"span below the counts", 34, {4, 0}, "of 4"},
      {"negative position", 36, {0, 0, 0, 128}, "first position"},
      {"unknown format of a window tier", 145, {77}, "format 77"},
      {"unknown Hadamard order", 146, {9}, "Hadamard"},
      {"reserved tail of the header", 159, {1}, "reserved"},
      {"NaN error", 112, {255, 255, 255, 255, 255, 255, 255, 127}, "error sums"},
      {"positions twice", first_positions, {2, 0, 2, 0}, "positions"},
      {"positions in both tiers", first_positions, {1, 0, 2, 0}, "positions"},
      {"positions past the span", first_positions, {0, 0, 8, 0}, "positions"},
      {"positions descend", first_positions, {6, 0, 4, 0}, "positions"},
  };
  for (const Damage& damage : damages) {
    std::string bytes = frame;
    std::memcpy(bytes.data() + damage.offset, damage.bytes.data(), damage.bytes.size());
    Reseal(bytes);
    const absl::Status status = SplitExact(bytes).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << damage.what;
    EXPECT_THAT(std::string(status.message()), HasSubstr(damage.message)) << damage.what;
  }
}

TEST(FrameTest, HeadsMustBeWholeUnlessPositionsAreListed) {
  std::string bytes = SampleFrame(SampleHeader(FormatId::kK8V4, FormatId::kNone, 5), {5, 0, 5, 0});
  bytes[160] = 4;
  Reseal(bytes);
  EXPECT_THAT(std::string(ParseFrame(bytes).status().message()), HasSubstr("positions are not listed"));
}

TEST(FrameTest, PaddingHoldsNothing) {
  FrameHeader header = SampleHeader(FormatId::kK8V4, FormatId::kNone, 1);
  header.heads = 1;
  const std::string bytes = SampleFrame(header, {1, 0});
  EXPECT_EQ(bytes.substr(168, 8), std::string(8, '\0'));  // behind the directory
  EXPECT_EQ(bytes.substr(184, 8), std::string(8, '\0'));  // behind one key of 8 bytes
}

std::string GoldenPath(const std::string& version, const std::string& name) {
  return SourceDir() + "/tests/golden/frames/" + version + "/" + name + ".bin";
}

std::string GoldenBytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream golden;
  golden << file.rdbuf();
  return golden.str();
}

// The wire format is fixed: what was written once is still what is written.
TEST(FrameTest, GoldenFramesOfVersion2StayIdentical) {
  for (const NamedBatch& sample : SampleBatches()) {
    const std::string path = GoldenPath("v2", sample.name);
    if (std::getenv("DECANT_WRITE_GOLDEN") != nullptr) std::ofstream(path, std::ios::binary) << sample.bytes;
    const std::string golden = GoldenBytes(path);
    EXPECT_TRUE(golden == sample.bytes) << path;
    EXPECT_TRUE(SplitBatch(golden).ok()) << path;
  }
}

// What the first version wrote stays readable and says the same.
TEST(FrameTest, GoldenFramesOfVersion1StayReadable) {
  for (const char* name : {"k8v4", "k4v2", "full_bf16", "full_f32", "diffkv", "batch"}) {
    const std::string golden = GoldenBytes(GoldenPath("v1", name));
    const auto old_parts = SplitExact(golden);
    ASSERT_TRUE(old_parts.ok()) << name << old_parts.status();
    const std::string now = GoldenBytes(GoldenPath("v2", name));
    const auto parts = SplitBatch(now);
    ASSERT_TRUE(parts.ok()) << name << parts.status();
    ASSERT_EQ(old_parts->size(), parts->size()) << name;
    for (size_t i = 0; i < parts->size(); ++i) {
      const FrameView& a = (*old_parts)[i].frame;
      const FrameView& b = (*parts)[i].frame;
      EXPECT_EQ(a.header.version, 1);
      EXPECT_EQ(a.header.span, b.header.span) << name;
      EXPECT_TRUE(a.header.key_form == b.header.key_form) << name;
      EXPECT_EQ((*old_parts)[i].overlay.has_value(), (*parts)[i].overlay.has_value()) << name;
      for (size_t run = 0; run < a.layout.runs.size(); ++run) {
        EXPECT_EQ(a.layout.runs[run].tokens, b.layout.runs[run].tokens) << name;
      }
    }
  }
}

// The keys of a token may lie in one tier and its values in another; neither half may lie in two.
TEST(FrameTest, HalvesOfATokenLieInDifferentTiers) {
  FrameHeader header = SampleHeader(FormatId::kChannelK2, FormatId::kGroupV2, 64);
  header.formats[kFixed] = FormatId::kFullK16;
  header.formats[kTail] = FormatId::kFullV16;
  header.heads = 1;
  header.head_dim = 32;
  EXPECT_EQ(FrameMistake(header, {32, 40, 32, 24}), "");
  EXPECT_THAT(FrameMistake(header, {32, 40, 33, 24}), HasSubstr("65 keys of 64"));
  EXPECT_THAT(FrameMistake(header, {32, 40, 32, 25}), HasSubstr("65 values of 64"));
  header.explicit_positions = false;
  EXPECT_THAT(FrameMistake(header, {32, 64, 32, 0}), HasSubstr("lacks tokens"));
  EXPECT_EQ(FrameMistake(header, {64, 64, 0, 0}), "");
}

TEST(ReceiptTest, ErrorsAddUpOverFrames) {
  StoredError error{1, 100};
  error.Add({3, 300});
  EXPECT_DOUBLE_EQ(error.Relative(), 0.1);
  EXPECT_EQ(StoredError{}.Relative(), 0);
  EXPECT_TRUE(IsTainted(Provenance::kPruned));
  EXPECT_FALSE(IsTainted(Provenance::kQuantised));
}

}  // namespace
}  // namespace decant
