#include "gpu/kernels/codec/encode_frames.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "common/base/half.h"
#include "common/base/random.h"
#include "gpu/kernels/codec/channel_codec.h"
#include "gpu/kernels/codec/frame_runs.h"
#include "gpu/kernels/codec/vector_codec.h"
#include "hwy/targets.h"
#include "tests/gpu/kernels/codec/codec_case.h"
#include "tests/gpu/kernels/codec/codec_rig.h"

namespace decant {
namespace {

using EncodeFramesTest = CodecCase;
using ExpandFramesTest = CodecCase;
DECANT_ON_KERNEL_DEVICES(EncodeFramesTest);
DECANT_ON_KERNEL_DEVICES(ExpandFramesTest);

constexpr Element kElements[] = {Element::kF32,     Element::kBf16,    Element::kAffine8, Element::kAffine4,
                                 Element::kAffine2, Element::kAffine1, Element::kGroup4,  Element::kGroup2};

void ExpectScalarBytes(int32_t levels) {
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
        const std::string expected = ScalarEncode(x.data(), count, element, levels);
        std::string bytes(expected.size() + 1, '\x5a');
        auto* codes = reinterpret_cast<uint8_t*>(bytes.data());
        uint8_t* meta = codes + VectorBytes(element, count);
        StoredError error;
        EncodeVector(RunType::kF32, x.data(), count, element, levels, codes, meta, &error);
        EXPECT_EQ(bytes.substr(0, expected.size()), expected) << count << " seed " << seed;
        EXPECT_EQ(bytes.back(), '\x5a');
        EXPECT_TRUE(std::isfinite(error.squared_difference) && std::isfinite(error.squared_norm));
        std::vector<float> back(x.size());
        DecodeVector(codes, meta, count, element, RunType::kF32, back.data());
        const std::vector<float> wanted = ScalarRoundTrip(x.data(), count, element, levels);
        EXPECT_EQ(std::memcmp(back.data(), wanted.data(), back.size() * 4), 0) << count << " seed " << seed;
      }
    }
  }
}

// `rows` of one group, two of its channels constant and one holding what no number is.
std::vector<std::vector<float>> GroupRows(uint64_t seed, int32_t tokens, int32_t head_dim) {
  std::vector<std::vector<float>> rows;
  for (int32_t t = 0; t < tokens; ++t) {
    rows.emplace_back();
    for (int32_t i = 0; i < head_dim; ++i) {
      const auto index = static_cast<uint64_t>(t * head_dim + i);
      rows.back().push_back((UniformFloat(seed, index) - 0.5f) * std::exp2(static_cast<float>(i % 20 - 10)));
    }
    rows.back()[0] = 3.25f;
    rows.back()[1] = t % 2 == 0 ? 0.0f : -0.0f;
    if (t == 0) rows.back()[2] = std::numeric_limits<float>::quiet_NaN();
    if (t == tokens / 2) rows.back()[3] = -std::numeric_limits<float>::infinity();
  }
  return rows;
}

void ExpectScalarChannels(int32_t levels) {
  for (const Element element : {Element::kChannel4, Element::kChannel2}) {
    for (int32_t head_dim = 8; head_dim <= kMaxHeadDim; head_dim += 24) {
      for (const int32_t tokens : {1, 15, 16, 17, 31, 32}) {
        const auto rows = GroupRows(static_cast<uint64_t>(head_dim * 64 + tokens), tokens, head_dim);
        std::vector<const float*> floats;
        std::vector<const void*> addresses;
        for (const auto& row : rows) {
          floats.push_back(row.data());
          addresses.push_back(row.data());
        }
        const std::string expected = ScalarEncodeChannels(floats, head_dim, element, levels);
        std::string bytes(expected.size() + 1, '\x5a');
        auto* codes = reinterpret_cast<uint8_t*>(bytes.data());
        uint8_t* meta = codes + tokens * VectorBytes(element, head_dim);
        StoredError error;
        EncodeChannels(RunType::kF32, addresses.data(), tokens, head_dim, element, levels, codes, meta, &error);
        EXPECT_EQ(bytes.substr(0, expected.size()), expected) << head_dim << " x " << tokens;
        EXPECT_EQ(bytes.back(), '\x5a');
        EXPECT_TRUE(std::isfinite(error.squared_difference) && error.squared_norm > 0);
        const std::vector<float> wanted = ScalarRoundTripChannels(floats, head_dim, element, levels);
        for (int32_t t = 0; t < tokens; ++t) {
          std::vector<float> back(static_cast<size_t>(head_dim));
          DecodeChannelToken(codes + t * VectorBytes(element, head_dim), meta, head_dim, element, RunType::kF32,
                             back.data());
          EXPECT_EQ(std::memcmp(back.data(), wanted.data() + t * head_dim, back.size() * 4), 0);
          EXPECT_EQ(back[0], 3.25f) << "a constant channel";
        }
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
    for (const int32_t levels : {0, 2, 3, 11}) {
      ExpectScalarBytes(levels);
      ExpectScalarChannels(levels);
    }
    hwy::SetSupportedTargetsForTest(0);
    hwy::GetChosenTarget().DeInit();
  }
}

TEST(VectorCodecTest, FewerLevelsUseOnlyTheirCodes) {
  std::vector<float> x(64);
  for (size_t i = 0; i < x.size(); ++i) x[i] = UniformFloat(3, i);
  for (const int32_t levels : {2, 5, 9}) {
    std::vector<uint8_t> bytes(68);
    EncodeVector(RunType::kF32, x.data(), 64, Element::kAffine8, levels, bytes.data(), bytes.data() + 64, nullptr);
    EXPECT_EQ(*std::max_element(bytes.begin(), bytes.begin() + 64), levels - 1);
  }
}

// compression-methods.md section 7, set B: keys whose channels differ in their means.
TEST(ChannelCodecTest, KeysPerChannelBeatKeysPerTokenAtTwoBits) {
  std::vector<std::vector<float>> rows(32, std::vector<float>(128));
  StoredError per_token;
  std::vector<const void*> addresses;
  std::vector<uint8_t> codes(32 * 32);
  std::vector<uint8_t> meta(128 * 4);
  for (size_t t = 0; t < rows.size(); ++t) {
    for (size_t i = 0; i < 128; ++i) {
      const float mean = i == 5 || i == 70 ? 12.0f : UniformFloat(1, i) - 0.5f;
      rows[t][i] = mean + (UniformFloat(2, t * 128 + i) - 0.5f) * 3.4f;
    }
    addresses.push_back(rows[t].data());
    EncodeVector(RunType::kF32, rows[t].data(), 128, Element::kGroup2, 0, codes.data(), meta.data(), &per_token);
  }
  StoredError per_channel;
  EncodeChannels(RunType::kF32, addresses.data(), 32, 128, Element::kChannel2, 0, codes.data(), meta.data(),
                 &per_channel);
  EXPECT_LT(3 * per_channel.squared_difference, per_token.squared_difference);
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
    EncodeVector(RunType::kBf16, halves.data(), 40, element, 0, codes, codes + VectorBytes(element, 40), nullptr);
    EXPECT_EQ(bytes, expected);
    std::vector<Bf16> back(40);
    DecodeVector(codes, codes + VectorBytes(element, 40), 40, element, RunType::kBf16, back.data());
    const std::vector<float> wanted = ScalarRoundTrip(x.data(), 40, element);
    for (size_t i = 0; i < back.size(); ++i) EXPECT_EQ(back[i].bits, ToBf16(wanted[i]).bits);
  }
}

TEST_P(EncodeFramesTest, ChunksOfEverySizeHoldTheTokensOfTheirTier) {
  const auto device = NewDevice();
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

TEST_P(EncodeFramesTest, ErrorsAreThoseOfTheScalarReference) {
  const auto device = NewDevice();
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

TEST_P(ExpandFramesTest, GivesBackWhatWasStored) {
  const auto device = NewDevice();
  const auto stream = device->NewStream();
  for (const FormatId id :
       {FormatId::kFullF32, FormatId::kK8V4, FormatId::kK4V2, FormatId::kTrackedF32, FormatId::kK4V4,
        FormatId::kTrackedK4V4, FormatId::kPlainK8V4, FormatId::kPlainK4V2, FormatId::kK4V8, FormatId::kK4V1,
        FormatId::kGroupK4V4, FormatId::kGroupK2V2, FormatId::kIndexedF32}) {
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

TEST_P(ExpandFramesTest, OnlyWholeChunksAreReused) {
  const auto device = NewDevice();
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
