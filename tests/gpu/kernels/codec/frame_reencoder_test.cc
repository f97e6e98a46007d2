#include "gpu/kernels/codec/frame_reencoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>

#include "common/base/half.h"
#include "common/base/random.h"
#include "common/compress/arith/hadamard.h"
#include "common/kv/batch.h"
#include "gpu/kernels/codec/reencode_frames.h"
#include "tests/gpu/kernels/codec/codec_case.h"
#include "tests/gpu/kernels/codec/codec_rig.h"

namespace decant {
namespace {

using FrameReencoderTest = CodecCase;
using ReencodeFramesTest = CodecCase;
DECANT_ON_KERNEL_DEVICES(FrameReencoderTest);
DECANT_ON_KERNEL_DEVICES(ReencodeFramesTest);

Recipe Target(FormatId high, FormatId low = FormatId::kNone) {
  Recipe recipe;
  recipe.profile = "target";
  recipe.digest.bytes[0] = 7;
  recipe.high = high;
  recipe.low = low;
  return recipe;
}

std::vector<FrameToReencode> Frames(const std::vector<BatchPart>& parts, int32_t prompt_tokens) {
  std::vector<FrameToReencode> frames;
  for (const BatchPart& part : parts) {
    const absl::string_view overlay = part.overlay.has_value() ? part.overlay->bytes : absl::string_view();
    frames.push_back({part.frame.bytes, overlay, prompt_tokens});
  }
  return frames;
}

// What a frame holds of one head, by position: the bytes of codes and pairs.
struct HeldToken {
  int32_t tier = 0;
  std::string key;
  std::string value;
};

std::map<int32_t, HeldToken> HeldTokens(const FrameView& frame, int32_t head) {
  std::map<int32_t, HeldToken> tokens;
  const std::string bytes(frame.bytes);
  const int32_t head_dim = frame.header.head_dim;
  for (int32_t tier = 0; tier < kFrameTiers; ++tier) {
    const FrameRun& run = frame.layout.run(0, head, tier);
    const Format format = FormatOf(frame.header.formats[tier]);
    const auto piece = [&](int64_t codes, int64_t meta, Element element, int32_t i) {
      const int64_t size = VectorBytes(element, head_dim);
      const int64_t meta_size = MetaBytes(element, head_dim);
      return bytes.substr(static_cast<size_t>(codes + i * size - frame.layout.offset), static_cast<size_t>(size)) +
             bytes.substr(static_cast<size_t>(meta + i * meta_size - frame.layout.offset),
                          static_cast<size_t>(meta_size));
    };
    for (int32_t i = 0; i < run.tokens; ++i) {
      auto offset = static_cast<uint16_t>(i);
      if (run.positions >= 0) std::memcpy(&offset, bytes.data() + run.positions + 2 * i - frame.layout.offset, 2);
      tokens[frame.header.first_position + offset] = {tier, piece(run.keys, run.key_meta, format.k, i),
                                                      piece(run.values, run.value_meta, format.v, i)};
    }
  }
  return tokens;
}

std::vector<absl::StatusOr<ReencodedFrame>> Reencode(Device& device, const std::vector<FrameToReencode>& frames,
                                                     const Recipe& target, int64_t batch_bytes = 1 << 17) {
  return FrameReencoder::Create(device, batch_bytes).value()->Reencode(frames, target);
}

// The plain rule, token by token: what `stored` becomes.
void ExpectReencoded(const FrameView& stored, const ReencodedFrame& made, const Recipe& target,
                     const std::map<std::pair<int32_t, int32_t>, int32_t>& tiers) {
  const auto view = ParseFrame(made.frame);
  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_EQ(view->header.profile, target.digest);
  EXPECT_EQ(view->header.context, stored.header.context);
  EXPECT_EQ(view->header.first_position, stored.header.first_position);
  EXPECT_EQ(view->header.span, stored.header.span);
  int64_t dropped = 0;
  for (int32_t head = 0; head < stored.header.heads; ++head) {
    const auto before = HeldTokens(stored, head);
    const auto after = HeldTokens(*view, head);
    size_t kept = 0;
    for (const auto& [position, token] : before) {
      const auto wanted = tiers.find({head, position});
      const int32_t tier = wanted == tiers.end() ? int32_t{kHigh} : wanted->second;
      if (tier == 2) {
        ++dropped;
        EXPECT_EQ(after.count(position), 0u);
        continue;
      }
      ++kept;
      const auto at = after.find(position);
      ASSERT_NE(at, after.end()) << position;
      EXPECT_EQ(at->second.tier, tier) << position;
      const Format from = FormatOf(stored.header.formats[token.tier]);
      const Format to = FormatOf(tier == kHigh ? target.high : target.low);
      EXPECT_EQ(at->second.key, ScalarReencode(token.key, from.k, to.k, stored.header.head_dim, target.key_levels,
                                               stored.header.key_form.hadamard, target.key_form.hadamard));
      EXPECT_EQ(at->second.value,
                ScalarReencode(token.value, from.v, to.v, stored.header.head_dim, target.value_levels, 0, 0));
    }
    EXPECT_EQ(after.size(), kept);
  }
  EXPECT_EQ(made.dropped, dropped);
}

TEST_P(FrameReencoderTest, EveryRungIsTheScalarOneAtOddSizes) {
  const auto device = NewDevice();
  const std::pair<FormatId, FormatId> rungs[] = {
      {FormatId::kFullF32, FormatId::kFullBf16},    {FormatId::kFullF32, FormatId::kK8V4},
      {FormatId::kTrackedBf16, FormatId::kK8V4},    {FormatId::kFullBf16, FormatId::kGroupK4V4},
      {FormatId::kK8V4, FormatId::kK4V4},           {FormatId::kK8V4, FormatId::kK4V2},
      {FormatId::kK4V8, FormatId::kK4V1},           {FormatId::kGroupK4V4, FormatId::kGroupK2V2},
      {FormatId::kK4V2, FormatId::kK4V1},           {FormatId::kFullF32, FormatId::kIndexedBf16},
      {FormatId::kFullBf16, FormatId::kIndexedBf16}};
  for (const auto& [from, to] : rungs) {
    for (const int32_t tokens : {1, 17, 65}) {
      for (const int32_t head_dim : {8, 40, 64}) {
        if (!GetParam().large_cases && (tokens == 65) != (head_dim == 40)) continue;
        const PromptLayer prompt =
            RandomPrompt(static_cast<uint64_t>(tokens + head_dim), RunType::kF32, 2, head_dim, tokens, false);
        const EncodedPrompt encoded = EncodePrompt(*device, prompt, from, FormatId::kNone, 64, false);
        const auto parts = SplitBatch(encoded.batch);
        ASSERT_TRUE(parts.ok());
        const Recipe target = Target(to);
        const auto made = Reencode(*device, Frames(*parts, 0), target);
        ASSERT_EQ(made.size(), parts->size());
        for (size_t i = 0; i < made.size(); ++i) {
          ASSERT_TRUE(made[i].ok()) << made[i].status();
          ExpectReencoded((*parts)[i].frame, *made[i], target, {});
        }
      }
    }
  }
}

// Statistics of an indexed target are those that encoding would have written.
TEST_P(FrameReencoderTest, FullFramesGainStatistics) {
  const auto device = NewDevice();
  const PromptLayer prompt = RandomPrompt(3, RunType::kBf16, 2, 32, 50, false);
  const EncodedPrompt plain = EncodePrompt(*device, prompt, FormatId::kFullBf16, FormatId::kNone, 50, false);
  const EncodedPrompt indexed = EncodePrompt(*device, prompt, FormatId::kIndexedBf16, FormatId::kNone, 50, false);
  const auto made = Reencode(*device, {{plain.batch, {}, 0}}, Target(FormatId::kIndexedBf16));
  ASSERT_TRUE(made[0].ok());
  // Past the headers, which name another profile.
  EXPECT_EQ(made[0]->frame.substr(176), indexed.batch.substr(176));
}

TEST_P(FrameReencoderTest, TokensOfTwoTiersBecomeOneAndTheLowerStaysBitForBit) {
  const auto device = NewDevice();
  const PromptLayer prompt = RandomPrompt(5, RunType::kF32, 3, 24, 40, true);
  const EncodedPrompt encoded = EncodePrompt(*device, prompt, FormatId::kK8V4, FormatId::kK4V2, 16, false);
  const auto parts = SplitBatch(encoded.batch);
  ASSERT_TRUE(parts.ok());
  const Recipe target = Target(FormatId::kK4V2);
  const auto made = Reencode(*device, Frames(*parts, 0), target);
  for (size_t i = 0; i < made.size(); ++i) {
    ASSERT_TRUE(made[i].ok()) << made[i].status();
    ExpectReencoded((*parts)[i].frame, *made[i], target, {});
    EXPECT_TRUE(made[i]->header.explicit_positions);
    EXPECT_LT(made[i]->frame.size(), (*parts)[i].frame.bytes.size());
    for (int32_t head = 0; head < 3; ++head) {
      const auto before = HeldTokens((*parts)[i].frame, head);
      const auto after = HeldTokens(*ParseFrame(made[i]->frame), head);
      for (const auto& [position, token] : before) {
        if (token.tier != kLow) continue;
        EXPECT_EQ(after.at(position).key + after.at(position).value, token.key + token.value);
      }
    }
  }
}

// A token that is low already cannot become high again: it stays where it is.
TEST_P(FrameReencoderTest, NothingIsPromoted) {
  const auto device = NewDevice();
  const PromptLayer prompt = RandomPrompt(6, RunType::kF32, 2, 16, 30, true);
  const EncodedPrompt encoded = EncodePrompt(*device, prompt, FormatId::kK8V4, FormatId::kK4V2, 30, false);
  const Recipe target = Target(FormatId::kK4V4, FormatId::kK4V2);
  const auto made = Reencode(*device, {{encoded.batch, {}, 0}}, target);
  ASSERT_TRUE(made[0].ok()) << made[0].status();
  std::map<std::pair<int32_t, int32_t>, int32_t> tiers;
  for (int32_t head = 0; head < 2; ++head) {
    for (int32_t t = 0; t < 30; ++t) tiers[{head, t}] = prompt.tiers[static_cast<size_t>(head * 30 + t)];
  }
  for (auto& [at, tier] : tiers) tier = tier == 2 ? 0 : tier;  // what the source lacks is not there to be dropped
  ExpectReencoded(*ParseFrame(encoded.batch), *made[0], target, tiers);
  const auto refused = Reencode(*device, {{encoded.batch, {}, 0}}, Target(FormatId::kK4V4));
  EXPECT_EQ(refused[0].status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(refused[0].status().ToString(), testing::HasSubstr("promoted"));
}

TEST_P(FrameReencoderTest, ThresholdsDemoteAndDropByTheOverlaysScores) {
  const auto device = NewDevice();
  const int32_t tokens = 90;
  const PromptLayer prompt = RandomPrompt(7, RunType::kF32, 2, 16, tokens, false);
  const EncodedPrompt encoded = EncodePrompt(*device, prompt, FormatId::kTrackedF32, FormatId::kNone, 32, true);
  const auto parts = SplitBatch(encoded.batch);
  ASSERT_TRUE(parts.ok());
  Recipe target = Target(FormatId::kK8V4, FormatId::kK4V2);
  target.allocation = Allocation::kThresholdByPosition;
  target.score = ScoreSource::kAllLaterQueries;
  target.alpha_high = 0.6f;
  target.alpha_low = 0.2f;
  target.window = 8;
  const auto made = Reencode(*device, Frames(*parts, tokens), target);
  std::map<std::pair<int32_t, int32_t>, int32_t> tiers;
  int32_t seen[3] = {0, 0, 0};
  for (int32_t head = 0; head < 2; ++head) {
    for (int32_t t = 0; t < tokens; ++t) {
      // Paper, section 4, i from 1: the mean over the later queries against alpha / i.
      const float mean = prompt.scores[static_cast<size_t>(head * tokens + t)] / static_cast<float>(tokens - t - 1);
      const auto i = static_cast<float>(t + 1);
      const int32_t tier = tokens - t <= 8 ? 0 : mean < 0.2f / i ? 2 : mean < 0.6f / i ? 1 : 0;
      tiers[{head, t}] = tier;
      ++seen[tier];
    }
  }
  EXPECT_TRUE(seen[0] > 16 && seen[1] > 0 && seen[2] > 0);
  for (size_t i = 0; i < made.size(); ++i) {
    ASSERT_TRUE(made[i].ok()) << made[i].status();
    ExpectReencoded((*parts)[i].frame, *made[i], target, tiers);
    EXPECT_EQ(made[i]->header.provenance, made[i]->dropped > 0 ? Provenance::kPruned : Provenance::kQuantised);
  }
  // Without scores, or with a prompt that ends before the chunk, there is no telling.
  EXPECT_EQ(Reencode(*device, {{(*parts)[0].frame.bytes, {}, tokens}}, target)[0].status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Reencode(*device, {{(*parts)[2].frame.bytes, (*parts)[2].overlay->bytes, 60}}, target)[0].status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_P(FrameReencoderTest, KeysAreTurnedIntoTheTargetsForm) {
  const auto device = NewDevice();
  const PromptLayer prompt = RandomPrompt(8, RunType::kF32, 2, 48, 20, false);
  const EncodedPrompt encoded = EncodePrompt(*device, prompt, FormatId::kK8V4, FormatId::kNone, 20, false);
  Recipe rotated = Target(FormatId::kK4V4);
  rotated.key_form.hadamard = 4;
  const auto made = Reencode(*device, {{encoded.batch, {}, 0}}, rotated);
  ASSERT_TRUE(made[0].ok()) << made[0].status();
  ExpectReencoded(*ParseFrame(encoded.batch), *made[0], rotated, {});
  Recipe other = Target(FormatId::kK4V4);
  other.key_form.hadamard = 3;
  other.key_levels = 12;
  const auto again = Reencode(*device, {{made[0]->frame, {}, 0}}, other);
  ASSERT_TRUE(again[0].ok()) << again[0].status();
  ExpectReencoded(*ParseFrame(made[0]->frame), *again[0], other, {});
  Recipe pre_rope = Target(FormatId::kK4V4);
  pre_rope.key_form.rope = 0;
  EXPECT_EQ(Reencode(*device, {{encoded.batch, {}, 0}}, pre_rope)[0].status().code(),
            absl::StatusCode::kFailedPrecondition);
}

// Errors are against the original, which re-encoding has not seen.
TEST_P(FrameReencoderTest, ErrorsAddUp) {
  const auto device = NewDevice();
  const PromptLayer prompt = RandomPrompt(9, RunType::kF32, 4, 64, 128, false);
  const EncodedPrompt encoded = EncodePrompt(*device, prompt, FormatId::kK8V4, FormatId::kNone, 128, false);
  const auto made = Reencode(*device, {{encoded.batch, {}, 0}}, Target(FormatId::kK4V2));
  ASSERT_TRUE(made[0].ok());
  StoredError keys;
  StoredError values;
  for (int32_t head = 0; head < 4; ++head) {
    for (int32_t t = 0; t < 128; ++t) {
      const auto k =
          ScalarRoundTrip(ScalarRoundTrip(prompt.key(head, t), 64, Element::kAffine8).data(), 64, Element::kAffine4);
      const auto v =
          ScalarRoundTrip(ScalarRoundTrip(prompt.value(head, t), 64, Element::kAffine4).data(), 64, Element::kAffine2);
      for (int32_t d = 0; d < 64; ++d) {
        const double key_off = double{prompt.key(head, t)[d]} - double{k[static_cast<size_t>(d)]};
        const double value_off = double{prompt.value(head, t)[d]} - double{v[static_cast<size_t>(d)]};
        keys.squared_difference += key_off * key_off;
        values.squared_difference += value_off * value_off;
      }
    }
  }
  EXPECT_NEAR(made[0]->header.key_error.squared_difference / keys.squared_difference, 1, 0.02);
  EXPECT_NEAR(made[0]->header.value_error.squared_difference / values.squared_difference, 1, 0.05);
  EXPECT_EQ(made[0]->header.key_error.squared_norm, ParseFrame(encoded.batch)->header.key_error.squared_norm);
  EXPECT_EQ(ParseFrame(made[0]->frame)->header.key_error.squared_difference,
            made[0]->header.key_error.squared_difference);
}

TEST_P(FrameReencoderTest, OneBadFrameLeavesTheOthersAlone) {
  const auto device = NewDevice();
  const PromptLayer prompt = RandomPrompt(10, RunType::kF32, 2, 16, 12, false);
  const std::string good = EncodePrompt(*device, prompt, FormatId::kK8V4, FormatId::kNone, 12, false).batch;
  const std::string lower = EncodePrompt(*device, prompt, FormatId::kK4V2, FormatId::kNone, 12, false).batch;
  std::string damaged = good;
  damaged[damaged.size() / 2] ^= 1;
  const PromptLayer wide = RandomPrompt(11, RunType::kF32, 2, 32, 12, false);
  const std::string other = EncodePrompt(*device, wide, FormatId::kK8V4, FormatId::kNone, 12, false).batch;
  const std::string large = EncodePrompt(*device, RandomPrompt(12, RunType::kF32, 2, 16, 600, false), FormatId::kK8V4,
                                         FormatId::kNone, 600, false)
                                .batch;
  const auto reencoder = FrameReencoder::Create(*device, 2 * static_cast<int64_t>(good.size())).value();
  const auto made = reencoder->Reencode(std::vector<FrameToReencode>{{good, {}, 0},
                                                                     {damaged, {}, 0},
                                                                     {lower, {}, 0},
                                                                     {other, {}, 0},
                                                                     {large, {}, 0},
                                                                     {good, {}, 0},
                                                                     {good, {}, 0}},
                                        Target(FormatId::kK4V4));
  EXPECT_TRUE(made[0].ok());
  EXPECT_EQ(made[1].status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(made[2].status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(made[3].ok());
  EXPECT_EQ(made[4].status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(made[5]->frame, made[0]->frame);
  EXPECT_EQ(made[6]->frame, made[0]->frame);
  // One head_dim a launch, and two of these frames.
  EXPECT_EQ(reencoder->launches(), 3);
}

// Halves apart, as KIVI holds them: the operation takes them, whatever a frame of the pool may be.
TEST_P(ReencodeFramesTest, ChannelGroupsComeAndGo) {
  const auto device = NewDevice();
  const auto stream = device->NewStream();
  constexpr int32_t kDim = 40;
  for (const int32_t tokens : {1, 31, 32, 33, 70}) {
    const PromptLayer prompt = RandomPrompt(13, RunType::kF32, 1, kDim, tokens, false);
    std::string in;
    std::vector<std::vector<float>> rows;
    for (int32_t t = 0; t < tokens; ++t) {
      rows.emplace_back(prompt.key(0, t), prompt.key(0, t) + kDim);
      in.append(reinterpret_cast<const char*>(prompt.key(0, t)), kDim * 4);
    }
    const auto groups = [&](const std::vector<std::vector<float>>& vectors) {
      std::string codes;
      std::string pairs;
      for (size_t first = 0; first < vectors.size(); first += 32) {
        std::vector<const float*> group;
        for (size_t t = first; t < std::min(first + 32, vectors.size()); ++t) group.push_back(vectors[t].data());
        const std::string bytes = ScalarEncodeChannels(group, kDim, Element::kChannel4);
        codes += bytes.substr(0, group.size() * kDim / 2);
        pairs += bytes.substr(group.size() * kDim / 2);
      }
      return codes + pairs;
    };
    const auto run_once = [&](const std::string& bytes, const ReencodeRun& run, size_t out_bytes) {
      const Buffer buffer = *device->Allocate(static_cast<int64_t>(bytes.size()));
      const Buffer device_run = *device->Allocate(sizeof(ReencodeRun));
      const Buffer out = *device->Allocate(static_cast<int64_t>(out_bytes) + 16);
      const Buffer errors = *device->Allocate(sizeof(StoredError));
      stream->Copy(buffer.As<void>(), bytes.data(), buffer.bytes());
      stream->Copy(device_run.As<void>(), &run, device_run.bytes());
      ReencodeFramesArgs args;
      args.in = buffer.As<uint8_t>();
      args.runs = device_run.As<ReencodeRun>();
      args.run_count = 1;
      args.head_dim = kDim;
      args.out = out.As<uint8_t>();
      args.errors = errors.As<StoredError>();
      ReencodeFrames(*stream, args);
      std::string made(out_bytes, '\0');
      stream->Copy(made.data(), out.As<void>(), static_cast<int64_t>(out_bytes));
      return made;
    };
    // Segments stand back to back where the sizes leave them at multiples of 8; alignment to 16 is the planner's.
    ReencodeRun run;
    run.sources[0] = StoredVectors{Element::kF32, 0, 0};
    run.tokens = tokens;
    run.element = Element::kChannel4;
    const int64_t codes = (int64_t{tokens} * kDim / 2 + 15) / 16 * 16;
    run.meta = codes;
    const auto meta_bytes = static_cast<size_t>(MetaSegmentBytes(Element::kChannel4, kDim, tokens));
    const std::string made = run_once(in, run, static_cast<size_t>(codes) + meta_bytes);
    const std::string expected = groups(rows);
    EXPECT_EQ(made.substr(0, static_cast<size_t>(tokens * kDim / 2)) + made.substr(static_cast<size_t>(codes)),
              expected);

    // And out of them again.
    std::vector<std::vector<float>> back;
    for (size_t first = 0; first < rows.size(); first += 32) {
      std::vector<const float*> group;
      for (size_t t = first; t < std::min(first + 32, rows.size()); ++t) group.push_back(rows[t].data());
      const auto values = ScalarRoundTripChannels(group, kDim, Element::kChannel4);
      for (size_t t = 0; t < group.size(); ++t) {
        back.emplace_back(values.begin() + static_cast<int64_t>(t) * kDim,
                          values.begin() + static_cast<int64_t>(t + 1) * kDim);
      }
    }
    ReencodeRun out_again;
    out_again.sources[0] = StoredVectors{Element::kChannel4, 0, codes};
    out_again.tokens = tokens;
    out_again.element = Element::kAffine2;
    out_again.meta = (int64_t{tokens} * kDim / 4 + 15) / 16 * 16;
    const std::string affine = run_once(made, out_again, static_cast<size_t>(out_again.meta + 4 * tokens));
    for (int32_t t = 0; t < tokens; ++t) {
      EXPECT_EQ(affine.substr(static_cast<size_t>(t * kDim / 4), kDim / 4) +
                    affine.substr(static_cast<size_t>(out_again.meta + 4 * t), 4),
                ScalarEncode(back[static_cast<size_t>(t)].data(), kDim, Element::kAffine2));
    }
  }
}

}  // namespace
}  // namespace decant
