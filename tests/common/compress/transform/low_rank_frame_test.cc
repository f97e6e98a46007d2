#include "common/compress/transform/low_rank_frame.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <vector>

#include "common/base/half.h"
#include "common/base/random.h"
#include "common/kv/batch.h"
#include "common/kv/envelope.h"
#include "common/kv/rows.h"
#include "tests/support/paths/paths.h"

namespace decant {
namespace {

using ::testing::HasSubstr;

constexpr float kFrequencies[] = {1.0f, 0.25f, 0.0625f, 0.015625f};

LowRankHeader SampleHeader() {
  LowRankHeader header;
  header.k_norm_applied = true;
  header.first_layer = 4;
  header.layers = 2;
  header.heads = 3;
  header.head_dim = 8;
  header.first_position = 100;
  header.tokens = 11;
  header.model_fingerprint = 0x1122334455667788;
  header.profile = Sha256("profile");
  header.context = Sha256("context");
  header.key_error = {0.25, 16};
  header.value_error = {0.5, 32};
  return header;
}

// Multiples of 1/64 below 1, which fp16 holds exactly.
SharedBasis SampleBasis(const LowRankHeader& header, int32_t rank, uint64_t seed) {
  SharedBasis basis;
  basis.tokens = header.tokens;
  basis.width = static_cast<int32_t>(header.width());
  basis.rank = rank;
  basis.coordinates.resize(static_cast<size_t>(basis.tokens * rank));
  basis.basis.resize(static_cast<size_t>(basis.width * rank));
  uint64_t i = 0;
  for (std::vector<float>* part : {&basis.coordinates, &basis.basis}) {
    for (float& value : *part) value = std::floor(UniformFloat(seed, i++) * 128 - 64) / 64;
  }
  return basis;
}

std::string SampleBytes() {
  const LowRankHeader header = SampleHeader();
  return SealLowRankFrame(header, SampleBasis(header, 3, 1), SampleBasis(header, 5, 2));
}

// From a copy that ends where its bytes end, so that a sanitiser sees every read behind them.
absl::Status ParseExact(absl::string_view bytes) {
  const std::unique_ptr<char[]> copy(new char[bytes.size()]);
  std::memcpy(copy.get(), bytes.data(), bytes.size());
  return ParseLowRankFrame({copy.get(), bytes.size()}).status();
}

void Reseal(std::string& frame) {
  SealEnvelope(reinterpret_cast<uint8_t*>(frame.data()), static_cast<int64_t>(frame.size()));
}

TEST(LowRankFrameTest, TellsEverythingItsHeaderWasGiven) {
  const std::string bytes = SampleBytes();
  const auto view = ParseLowRankFrame(bytes);
  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_EQ(view->header.provenance, Provenance::kQuantised);
  EXPECT_TRUE(view->header.k_norm_applied);
  EXPECT_EQ(view->header.first_layer, 4);
  EXPECT_EQ(view->header.layers, 2);
  EXPECT_EQ(view->header.first_head, 0);
  EXPECT_EQ(view->header.heads, 3);
  EXPECT_EQ(view->header.head_dim, 8);
  EXPECT_EQ(view->header.first_position, 100);
  EXPECT_EQ(view->header.tokens, 11);
  EXPECT_EQ(view->header.key_rank, 3);
  EXPECT_EQ(view->header.value_rank, 5);
  EXPECT_EQ(view->header.model_fingerprint, 0x1122334455667788u);
  EXPECT_EQ(view->header.profile, Sha256("profile"));
  EXPECT_EQ(view->header.context, Sha256("context"));
  EXPECT_EQ(view->header.key_error.squared_difference, 0.25);
  EXPECT_EQ(view->header.value_error.squared_norm, 32);
  EXPECT_EQ(view->bytes.size(), bytes.size());
  EXPECT_EQ(static_cast<int64_t>(bytes.size()), LowRankFrameBytes(11, 48, 3, 5));
}

// Against A B, rotated and rounded token by token.
TEST(LowRankFrameTest, ExpandsIntoPlainFramesOfRotatedKeys) {
  const std::string bytes = SampleBytes();
  const LowRankView view = ParseLowRankFrame(bytes).value();
  const SharedBasis keys = SampleBasis(view.header, 3, 1);
  const SharedBasis values = SampleBasis(view.header, 5, 2);
  const auto at = [](const SharedBasis& basis, int32_t token, int32_t column) {
    double sum = 0;
    for (int32_t r = 0; r < basis.rank; ++r) {
      sum += static_cast<double>(basis.coordinates[static_cast<size_t>(token * basis.rank + r)]) *
             static_cast<double>(basis.basis[static_cast<size_t>(r * basis.width + column)]);
    }
    return sum;
  };
  for (const FormatId full : {FormatId::kFullF32, FormatId::kFullBf16}) {
    std::string plain;
    ASSERT_TRUE(ExpandLowRankFrame(view, full, {kFrequencies, 1.5f}, plain).ok());
    const auto parts = SplitBatch(plain);
    ASSERT_TRUE(parts.ok()) << parts.status();
    ASSERT_EQ(parts->size(), 2u);
    const auto stored = [&](int64_t place, int32_t i) {
      float wide;
      Bf16 half;
      if (full == FormatId::kFullF32) {
        std::memcpy(&wide, plain.data() + place + 4 * i, 4);
      } else {
        std::memcpy(&half, plain.data() + place + 2 * i, 2);
        wide = ToFloat(half);
      }
      return static_cast<double>(wide);
    };
    const double tolerance = full == FormatId::kFullF32 ? 1e-5 : 0.03;
    for (int32_t layer = 0; layer < 2; ++layer) {
      const FrameView& frame = (*parts)[static_cast<size_t>(layer)].frame;
      EXPECT_EQ(frame.header.first_layer, 4 + layer);
      EXPECT_EQ(frame.header.first_position, 100);
      EXPECT_EQ(frame.header.provenance, Provenance::kQuantised);
      EXPECT_TRUE(frame.header.k_norm_applied);
      for (int32_t head = 0; head < 3; ++head) {
        const FrameRun& run = frame.layout.run(0, head, kHigh);
        ASSERT_EQ(run.tokens, 11);
        const int32_t column = (layer * 3 + head) * 8;
        for (int32_t token = 0; token < 11; ++token) {
          const int64_t vector = token * VectorBytes(FormatOf(full).k, 8);
          for (int32_t i = 0; i < 4; ++i) {
            const double angle = (100.0 + token) * static_cast<double>(kFrequencies[i]);
            const double a = at(keys, token, column + i);
            const double b = at(keys, token, column + i + 4);
            EXPECT_NEAR(stored(run.keys + vector, i), 1.5 * (a * std::cos(angle) - b * std::sin(angle)), tolerance);
            EXPECT_NEAR(stored(run.keys + vector, i + 4), 1.5 * (b * std::cos(angle) + a * std::sin(angle)), tolerance);
          }
          for (int32_t i = 0; i < 8; ++i) {
            EXPECT_NEAR(stored(run.values + vector, i), at(values, token, column + i), tolerance);
          }
        }
      }
    }
  }
}

TEST(LowRankFrameTest, UnrotatingUndoesRotating) {
  const float original[] = {1, 2, 3, 4, -5, 6, -7, 8};
  std::vector<float> key(original, original + 8);
  const KeyRotation rotation{kFrequencies, 1.25f};
  RotateKey(rotation, 4095, absl::MakeSpan(key));
  EXPECT_GT(std::abs(key[0] - 1.25f), 0.1f);
  UnrotateKey(rotation, 4095, absl::MakeSpan(key));
  for (size_t i = 0; i < 8; ++i) EXPECT_NEAR(key[i], original[i], 1e-5);
}

// The frame, header and both bases counted, is below 16-bit K and V from the number of tokens that is told.
TEST(LowRankFrameTest, PaysFromTheTokensThatAreTold) {
  const int64_t width = 512;
  const int64_t rank = 64;
  const int64_t tokens = BreakEvenTokens(width, rank);
  EXPECT_LT(LowRankFrameBytes(tokens + 2, width, rank, rank), 2 * 2 * (tokens + 2) * width);
  EXPECT_GT(LowRankFrameBytes(tokens - 1, width, rank, rank), 2 * 2 * (tokens - 1) * width);
}

TEST(LowRankFrameTest, DamageIsALoss) {
  const std::string bytes = SampleBytes();
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string damaged = bytes;
    damaged[i] = static_cast<char>(damaged[i] ^ 4);
    const absl::Status status = ParseExact(damaged);
    EXPECT_TRUE(absl::IsDataLoss(status) || (i >= 4 && i < 6 && absl::IsFailedPrecondition(status)))
        << "byte " << i << ": " << status;
  }
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_TRUE(absl::IsDataLoss(ParseExact(absl::string_view(bytes).substr(0, size)))) << size;
  }
}

TEST(LowRankFrameTest, ForgedNumbersAreALoss) {
  struct Forgery {
    size_t place;
    uint32_t value;
    const char* what;
  };
  const Forgery forgeries[] = {
      {16, 1, "reserved"},       {20, 1, "provenance 1"},   {20, 7, "provenance 7"},    {32, 7, "7 elements"},
      {36, 0x80000000, "ranks"}, {144, 0, "ranks"},         {144, 12, "bytes, not"},    {144, 0x7fffffff, "ranks"},
      {148, 0, "ranks"},         {148, 12, "ranks"},        {152, 0xffffffff, "ranks"}, {156, 1, "reserved"},
      {116, 0x7ff00000, "sums"}, {26, 0xffffffff, "ranks"},
  };
  for (const Forgery& forgery : forgeries) {
    std::string forged = SampleBytes();
    std::memcpy(forged.data() + forgery.place, &forgery.value, 4);
    Reseal(forged);
    const absl::Status status = ParseExact(forged);
    EXPECT_TRUE(absl::IsDataLoss(status)) << forgery.place;
    EXPECT_THAT(status.message(), HasSubstr(forgery.what)) << forgery.place;
  }
}

TEST(LowRankFrameTest, TheGoldenOfVersion1StaysIdentical) {
  const std::string path = SourceDir() + "/tests/golden/low_rank/v1/sample.bin";
  const std::string bytes = SampleBytes();
  if (std::getenv("DECANT_WRITE_GOLDEN") != nullptr) std::ofstream(path, std::ios::binary) << bytes;
  std::ifstream file(path, std::ios::binary);
  const std::string golden{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  EXPECT_TRUE(golden == bytes) << path;
  EXPECT_TRUE(ParseExact(golden).ok()) << path;
}

}  // namespace
}  // namespace decant
