#include "gpu/kernels/codec/encode_frames.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "common/base/half.h"
#include "common/base/random.h"
#include "gpu/kernels/codec/frame_runs.h"
#include "gpu/kernels/codec/vector_codec.h"
#include "hwy/targets.h"
#include "tests/gpu/kernels/codec/codec_rig.h"
#include "tests/support/test_device.h"

namespace decant {
namespace {

constexpr Element kElements[] = {Element::kF32, Element::kBf16, Element::kAffine8, Element::kAffine4,
                                 Element::kAffine2};

void ExpectScalarBytes() {
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const Element element : kElements) {
    for (int32_t count = 8; count <= kMaxHeadDim; count += 8) {
      for (uint64_t seed = 0; seed < 12; ++seed) {
        std::vector<float> x(static_cast<size_t>(count));
        const float width = std::exp2(static_cast<float>(seed) * 4 - 24);
        for (size_t i = 0; i < x.size(); ++i) x[i] = (UniformFloat(seed, i) - 0.5f) * width;
        if (seed == 3) x.assign(x.size(), -0.0f);
        if (seed == 4) x[1] = infinity, x[5] = nan;
        if (seed == 5) x.assign(x.size(), 3.25f);
        if (seed == 6) x[0] = -0.0f, x[1] = 0.0f;
        const std::string expected = ScalarEncode(x.data(), count, element);
        std::string bytes(expected.size() + 1, '\x5a');
        auto* codes = reinterpret_cast<uint8_t*>(bytes.data());
        uint8_t* meta = codes + VectorBytes(element, count);
        StoredError error;
        EncodeVector(RunType::kF32, x.data(), count, element, codes, meta, &error);
        EXPECT_EQ(bytes.substr(0, expected.size()), expected) << count << " seed " << seed;
        EXPECT_EQ(bytes.back(), '\x5a');
        EXPECT_TRUE(std::isfinite(error.squared_difference) && std::isfinite(error.squared_norm));
        std::vector<float> back(x.size());
        DecodeVector(codes, meta, count, element, RunType::kF32, back.data());
        const std::vector<float> wanted = ScalarRoundTrip(x.data(), count, element);
        EXPECT_EQ(std::memcmp(back.data(), wanted.data(), back.size() * 4), 0) << count << " seed " << seed;
      }
    }
  }
}

TEST(VectorCodecTest, GivesTheBytesOfTheScalarArithmeticOnEveryInstructionSet) {
  for (int64_t rest = hwy::SupportedTargets(); rest != 0; rest &= rest - 1) {
    const int64_t target = rest & -rest;
    SCOPED_TRACE(hwy::TargetName(target));
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().DeInit();
    ExpectScalarBytes();
    hwy::SetSupportedTargetsForTest(0);
    hwy::GetChosenTarget().DeInit();
  }
}

TEST(VectorCodecTest, Bf16RunTypeIsTheSameNumbers) {
  for (const Element element : kElements) {
    std::vector<float> x(40);
    std::vector<Bf16> halves(40);
    for (size_t i = 0; i < x.size(); ++i) {
      halves[i] = ToBf16(UniformFloat(9, i) * 4 - 2);
      x[i] = ToFloat(halves[i]);
    }
    const std::string expected = ScalarEncode(x.data(), 40, element);
    std::string bytes(expected.size(), '\0');
    auto* codes = reinterpret_cast<uint8_t*>(bytes.data());
    EncodeVector(RunType::kBf16, halves.data(), 40, element, codes, codes + VectorBytes(element, 40), nullptr);
    EXPECT_EQ(bytes, expected);
    std::vector<Bf16> back(40);
    DecodeVector(codes, codes + VectorBytes(element, 40), 40, element, RunType::kBf16, back.data());
    const std::vector<float> wanted = ScalarRoundTrip(x.data(), 40, element);
    for (size_t i = 0; i < back.size(); ++i) EXPECT_EQ(back[i].bits, ToBf16(wanted[i]).bits);
  }
}

TEST(EncodeFramesTest, ChunksOfEverySizeHoldTheTokensOfTheirTier) {
  const auto device = CreateTestDevice(2);
  for (const RunType run_type : {RunType::kF32, RunType::kBf16}) {
    for (const int32_t tokens : {1, 7, 8, 9, 16, 30}) {
      const PromptLayer prompt = RandomPrompt(static_cast<uint64_t>(tokens), run_type, 2, 24, tokens, true);
      const EncodedPrompt encoded = EncodePrompt(*device, prompt, FormatId::kK8V4, FormatId::kK4V2, 8, true);
      const auto parts = SplitBatch(encoded.batch);
      ASSERT_TRUE(parts.ok()) << parts.status();
      ASSERT_EQ(parts->size(), static_cast<size_t>((tokens + 7) / 8));
      for (const BatchPart& part : *parts) {
        for (int32_t head = 0; head < 2; ++head) {
          for (int32_t tier = 0; tier < 2; ++tier) {
            const FrameRun& run = part.frame.layout.run(0, head, tier);
            const Format format = FormatOf(part.frame.header.formats[tier]);
            int32_t i = 0;
            for (int32_t t = part.frame.header.first_position;
                 t < part.frame.header.first_position + part.frame.header.span; ++t) {
              const auto index = static_cast<size_t>(head * tokens + t);
              if (prompt.tiers[index] != tier) continue;
              ASSERT_LT(i, run.tokens);
              const int64_t key_bytes = VectorBytes(format.k, 24);
              const std::string key = ScalarEncode(prompt.key(head, t), 24, format.k);
              EXPECT_EQ(
                  encoded.batch.substr(static_cast<size_t>(run.keys + i * key_bytes), static_cast<size_t>(key_bytes)) +
                      encoded.batch.substr(static_cast<size_t>(run.key_meta + i * 4), 4),
                  key);
              const int64_t value_bytes = VectorBytes(format.v, 24);
              const std::string value = ScalarEncode(prompt.value(head, t), 24, format.v);
              EXPECT_EQ(encoded.batch.substr(static_cast<size_t>(run.values + i * value_bytes),
                                             static_cast<size_t>(value_bytes)) +
                            encoded.batch.substr(static_cast<size_t>(run.value_meta + i * 4), 4),
                        value);
              float score;
              std::memcpy(&score, encoded.batch.data() + part.overlay->layout.run(0, head, tier) + 4 * i, 4);
              EXPECT_EQ(score, prompt.scores[index]);
              ++i;
            }
            EXPECT_EQ(i, run.tokens);
          }
        }
      }
    }
  }
}

TEST(EncodeFramesTest, ErrorsAreThoseOfTheScalarReference) {
  const auto device = CreateTestDevice(2);
  const PromptLayer prompt = RandomPrompt(5, RunType::kF32, 2, 64, 50, false);
  double difference = 0;
  double norm = 0;
  for (int32_t head = 0; head < 2; ++head) {
    for (int32_t t = 0; t < 50; ++t) {
      const std::vector<float> back = ScalarRoundTrip(prompt.key(head, t), 64, Element::kAffine8);
      for (int32_t d = 0; d < 64; ++d) {
        const double x = prompt.key(head, t)[d];
        difference += (x - back[static_cast<size_t>(d)]) * (x - back[static_cast<size_t>(d)]);
        norm += x * x;
      }
    }
  }
  const EncodedPrompt encoded = EncodePrompt(*device, prompt, FormatId::kK8V4, FormatId::kNone, 16, false);
  EXPECT_NEAR(encoded.key_error.squared_difference, difference, difference * 1e-4);
  EXPECT_NEAR(encoded.key_error.squared_norm, norm, norm * 1e-5);
  EXPECT_GT(encoded.value_error.Relative(), encoded.key_error.Relative());
  EXPECT_EQ(EncodePrompt(*device, prompt, FormatId::kFullF32, FormatId::kNone, 16, false).key_error.squared_difference,
            0);
}

TEST(ExpandFramesTest, GivesBackWhatWasStored) {
  const auto device = CreateTestDevice(2);
  const auto stream = device->NewStream();
  for (const FormatId id : {FormatId::kFullF32, FormatId::kK8V4, FormatId::kK4V2}) {
    const int32_t tokens = 21;
    const PromptLayer prompt = RandomPrompt(6, RunType::kF32, 2, 16, tokens, false);
    const EncodedPrompt encoded = EncodePrompt(*device, prompt, id, FormatId::kNone, 8, false);
    std::vector<ExpandRun> runs;
    const auto parts = SplitBatch(encoded.batch);
    ASSERT_TRUE(parts.ok());
    for (const BatchPart& part : *parts) ASSERT_TRUE(AppendExpandRuns(part.frame, 0, runs).ok());
    const int64_t capacity = 33;
    const Buffer frames = *device->Allocate(static_cast<int64_t>(encoded.batch.size()));
    const Buffer device_runs = *device->Allocate(static_cast<int64_t>(runs.size() * sizeof(ExpandRun)));
    const Buffer k = *device->Allocate(2 * capacity * 16 * 4);
    const Buffer v = *device->Allocate(2 * capacity * 16 * 4);
    stream->Copy(frames.As<uint8_t>(), encoded.batch.data(), frames.bytes());
    stream->Copy(device_runs.As<uint8_t>(), runs.data(), device_runs.bytes());
    ExpandFramesArgs args;
    args.run_type = RunType::kF32;
    args.frames = frames.As<uint8_t>();
    args.runs = device_runs.As<ExpandRun>();
    args.run_count = static_cast<int32_t>(runs.size());
    args.head_dim = 16;
    args.k = k.As<float>();
    args.v = v.As<float>();
    args.capacity = capacity;
    ExpandFrames(*stream, args);
    std::vector<float> keys(static_cast<size_t>(2 * capacity * 16));
    std::vector<float> values(keys.size());
    stream->Copy(keys.data(), k.As<float>(), k.bytes());
    stream->Copy(values.data(), v.As<float>(), v.bytes());
    for (int32_t head = 0; head < 2; ++head) {
      for (int32_t t = 0; t < tokens; ++t) {
        const auto key = ScalarRoundTrip(prompt.key(head, t), 16, FormatOf(id).k);
        const auto value = ScalarRoundTrip(prompt.value(head, t), 16, FormatOf(id).v);
        EXPECT_EQ(std::memcmp(keys.data() + (head * capacity + t) * 16, key.data(), 64), 0);
        EXPECT_EQ(std::memcmp(values.data() + (head * capacity + t) * 16, value.data(), 64), 0);
      }
    }
  }
}

TEST(ExpandFramesTest, OnlyWholeChunksAreReused) {
  const auto device = CreateTestDevice(1);
  const PromptLayer prompt = RandomPrompt(6, RunType::kF32, 1, 16, 8, true);
  const EncodedPrompt encoded = EncodePrompt(*device, prompt, FormatId::kK8V4, FormatId::kK4V2, 8, false);
  std::vector<ExpandRun> runs;
  const auto frame = ParseFrame(encoded.batch);
  ASSERT_TRUE(frame.ok());
  EXPECT_EQ(AppendExpandRuns(*frame, 0, runs).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(AppendExpandRuns(*frame, 1, runs).code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace decant
