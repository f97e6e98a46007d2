#include "gpu/engine/wire_form.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "common/base/random.h"
#include "common/kv/batch.h"
#include "gpu/engine/low_rank_encoder.h"
#include "tests/gpu/engine/decode_rig.h"
#include "tests/support/paths/paths.h"
#include "tests/support/test_device.h"

namespace decant {
namespace {

using ::testing::HasSubstr;

constexpr char kTiny[] = "deploy/models/decant-tiny";

int64_t BytesOf(const Poured& poured) {
  int64_t bytes = 0;
  for (const EncodedLayer& layer : poured.layers) bytes += static_cast<int64_t>(layer.batch.size());
  return bytes;
}

absl::string_view View(const std::vector<uint8_t>& batch) {
  return {reinterpret_cast<const char*>(batch.data()), batch.size()};
}

DecodeRig::Answer AnswerOf(DecodeRig& rig, const std::vector<int32_t>& prompt, const Recipe& recipe,
                           const Poured& poured, int32_t tokens) {
  const SequenceId id = rig.batch().Reserve(rig.Options(prompt, recipe, tokens)).value();
  for (const EncodedLayer& layer : poured.layers) {
    const absl::Status imported = rig.batch().Import(id, layer.batch);
    EXPECT_TRUE(imported.ok()) << imported;
  }
  EXPECT_TRUE(rig.batch().Join(id, poured.first_token).ok());
  DecodeRig::Answer answer = rig.Finish(id, poured.first_token);
  rig.batch().Remove(id);
  return answer;
}

WireContext ContextOf(const DecodeRig& rig, int32_t prompt_tokens) {
  return {rig.config().geometry(),
          prompt_tokens,
          rig.weights().run_type() == RunType::kF32 ? FormatId::kFullF32 : FormatId::kFullBf16,
          {rig.config().inverse_frequencies, rig.config().rope_magnitude}};
}

void ExpectCodedIsTheSame(DecodeRig& rig, const std::string& profile, double most) {
  SCOPED_TRACE(profile);
  const std::vector<int32_t> prompt = rig.Prompt(150);
  Recipe recipe = rig.RecipeOf(profile);
  recipe.code = WireCode::kRaw;
  const Poured plain = rig.Prefill(prompt, recipe);
  recipe.code = WireCode::kEntropy;
  const Poured coded = rig.Prefill(prompt, recipe);
  const double share = static_cast<double>(BytesOf(coded)) / static_cast<double>(BytesOf(plain));
  EXPECT_LT(share, most);
  for (size_t layer = 0; layer < plain.layers.size(); ++layer) {
    const auto restored = PlainBatch(View(coded.layers[layer].batch), ContextOf(rig, 150));
    ASSERT_TRUE(restored.ok()) << restored.status();
    ASSERT_TRUE(restored->has_value());
    EXPECT_TRUE(**restored == std::string(View(plain.layers[layer].batch))) << layer;
    const EncodedChunk& last = coded.layers[layer].chunks.back();
    EXPECT_EQ(last.overlay_offset + last.overlay_bytes, static_cast<int64_t>(coded.layers[layer].batch.size()));
  }
  const DecodeRig::Answer expected = AnswerOf(rig, prompt, recipe, plain, 12);
  const DecodeRig::Answer answer = AnswerOf(rig, prompt, recipe, coded, 12);
  EXPECT_EQ(answer.tokens, expected.tokens);
  EXPECT_EQ(answer.logits, expected.logits);
}

TEST(WireFormTest, CodedFramesAnswerLikePlainOnesInFewerBytes) {
  DecodeRig rig(CreateTestDevice(2), kTiny, int64_t{24} << 20, 8, RunType::kBf16);
  ExpectCodedIsTheSame(rig, "full-lossless", 0.7);
  ExpectCodedIsTheSame(rig, "k8v4", 0.98);
  ExpectCodedIsTheSame(rig, "k12v6-coded", 0.9);
  ExpectCodedIsTheSame(rig, "kvzip", 0.98);
  ExpectCodedIsTheSame(rig, "k4v2", 0.92);
  ExpectCodedIsTheSame(rig, "diffkv", 0.96);
}

TEST(WireFormTest, FullF32IsCodedToo) {
  DecodeRig rig(CreateTestDevice(2), kTiny);
  ExpectCodedIsTheSame(rig, "full-lossless", 0.87);
}

TEST(WireFormTest, PlainBatchesStayAsTheyAre) {
  DecodeRig rig(CreateTestDevice(2), kTiny);
  const Poured poured = rig.Prefill(rig.Prompt(70), rig.RecipeOf("diffkv"));
  EXPECT_FALSE(PlainBatch(View(poured.layers[0].batch), ContextOf(rig, 70))->has_value());
  EXPECT_FALSE(PlainBatch("", ContextOf(rig, 70))->has_value());
  EXPECT_FALSE(PlainBatch("no frame at all, but long enough", ContextOf(rig, 70))->has_value());
}

TEST(WireFormTest, DamagedCodedFramesAreALoss) {
  DecodeRig rig(CreateTestDevice(2), kTiny);
  const std::vector<int32_t> prompt = rig.Prompt(70);
  for (const char* profile : {"full-lossless", "xkv"}) {
    const Recipe recipe = rig.RecipeOf(profile);
    std::vector<uint8_t> batch = rig.Prefill(prompt, recipe).layers.back().batch;
    ASSERT_FALSE(batch.empty());
    for (const size_t place : {size_t{40}, size_t{300}, batch.size() - 1}) {
      std::vector<uint8_t> damaged = batch;
      damaged[place] ^= 1;
      const SequenceId id = rig.batch().Reserve(rig.Options(prompt, recipe, 4)).value();
      EXPECT_TRUE(absl::IsDataLoss(rig.batch().Import(id, damaged))) << profile << " byte " << place;
      rig.batch().Remove(id);
    }
    batch.resize(batch.size() - 16);
    const SequenceId id = rig.batch().Reserve(rig.Options(prompt, recipe, 4)).value();
    EXPECT_TRUE(absl::IsDataLoss(rig.batch().Import(id, batch))) << profile;
    rig.batch().Remove(id);
  }
}

// The keys of a group side by side before rope, from taps of a run of their own, by a rotation of its own.
struct Group {
  std::vector<float> keys, values;  // [tokens, layers x heads x head_dim]
};
Group GatherGroup(DecodeRig& rig, const std::vector<int32_t>& prompt, int32_t first_layer, int32_t layers) {
  const ModelConfig& config = rig.config();
  const auto tokens = static_cast<int32_t>(prompt.size());
  const int32_t dim = config.head_dim;
  const int32_t columns = config.kv_heads * dim;
  const int32_t width = layers * columns;
  Group group;
  group.keys.resize(static_cast<size_t>(tokens * width));
  group.values.resize(group.keys.size());
  auto run = PrefillRun::Create(rig.weights(), rig.stream(), prompt, PrefillOptions()).value();
  for (int32_t layer = 0; layer < first_layer + layers; ++layer) {
    const LayerTap tap = run->ComputeLayer(layer).value();
    if (layer < first_layer) continue;
    std::vector<float> k(static_cast<size_t>(tap.capacity) * static_cast<size_t>(columns));
    std::vector<float> v(k.size());
    rig.stream().Copy(k.data(), tap.k, static_cast<int64_t>(4 * k.size()));
    rig.stream().Copy(v.data(), tap.v, static_cast<int64_t>(4 * v.size()));
    EXPECT_TRUE(rig.stream().Synchronize().ok());
    for (int32_t head = 0; head < config.kv_heads; ++head) {
      for (int32_t token = 0; token < tokens; ++token) {
        const auto from = static_cast<size_t>((head * tap.capacity + token) * dim);
        const auto to = static_cast<size_t>(token * width + (layer - first_layer) * columns + head * dim);
        for (int32_t i = 0; i < dim / 2; ++i) {
          const auto at = static_cast<size_t>(i);
          const auto pair = static_cast<size_t>(i + dim / 2);
          const double angle =
              static_cast<double>(token) * static_cast<double>(config.inverse_frequencies[static_cast<size_t>(i)]);
          const double a = static_cast<double>(k[from + at]);
          const double b = static_cast<double>(k[from + pair]);
          group.keys[to + at] = static_cast<float>(a * std::cos(angle) + b * std::sin(angle));
          group.keys[to + pair] = static_cast<float>(b * std::cos(angle) - a * std::sin(angle));
        }
        std::memcpy(group.values.data() + to, v.data() + from, static_cast<size_t>(4 * dim));
      }
    }
  }
  return group;
}

// Six layers in groups of four: the second group has two.
TEST(WireFormTest, LowRankFramesLoseTheTailEnergy) {
  DecodeRig rig(CreateTestDevice(2), kTiny);
  const std::vector<int32_t> prompt = rig.Prompt(200);
  const Recipe recipe = rig.RecipeOf("xkv");
  const Poured poured = rig.Prefill(prompt, recipe);
  ASSERT_EQ(poured.layers.size(), 6u);
  const int32_t columns = rig.config().kv_heads * rig.config().head_dim;
  EXPECT_EQ(recipe.low_rank.key_rank, 4 * columns / 8);
  for (const int32_t last : {3, 5}) {
    const int32_t first = last == 3 ? 0 : 4;
    const int32_t width = (last + 1 - first) * columns;
    const EncodedLayer& layer = poured.layers[static_cast<size_t>(last)];
    ASSERT_EQ(layer.chunks.size(), 1u);
    const LowRankHeader header = ParseLowRankFrame(View(layer.batch)).value().header;
    EXPECT_EQ(header.first_layer, first);
    EXPECT_EQ(header.layers, last + 1 - first);
    EXPECT_EQ(header.tokens, 200);
    EXPECT_EQ(header.key_rank, width / 8);
    EXPECT_EQ(header.value_rank, width * 3 / 16);
    EXPECT_EQ(header.provenance, Provenance::kQuantised);
    EXPECT_EQ(layer.counts.high, int64_t{200} * (last + 1 - first) * rig.config().kv_heads);
    const Group group = GatherGroup(rig, prompt, first, last + 1 - first);
    const SharedBasis keys = FitSharedBasis(group.keys, 200, width, header.key_rank).value();
    const SharedBasis values = FitSharedBasis(group.values, 200, width, header.value_rank).value();
    // Rounding to fp16 adds about (3e-4)^2 of the energy.
    EXPECT_NEAR(header.key_error.squared_difference, keys.tail_energy, 0.001 * keys.tail_energy + 2e-7 * keys.energy);
    EXPECT_NEAR(header.key_error.squared_norm, keys.energy, 1e-3 * keys.energy);
    EXPECT_NEAR(header.value_error.squared_difference, values.tail_energy,
                0.001 * values.tail_energy + 2e-7 * values.energy);
    EXPECT_GT(keys.tail_energy, 0.001 * keys.energy);  // or there is nothing to see
  }
  for (const size_t silent : {0, 1, 2, 4}) EXPECT_TRUE(poured.layers[silent].batch.empty());
}

TEST(WireFormTest, LowRankFramesOfAllRanksAnswerLikeFullOnes) {
  DecodeRig rig(CreateTestDevice(2), kTiny);
  const std::vector<int32_t> prompt = rig.Prompt(90);
  Recipe recipe = rig.RecipeOf("xkv");
  recipe.low_rank.key_rank = 1 << 20;
  recipe.low_rank.value_rank = 1 << 20;
  const Poured full = rig.Prefill(prompt, rig.RecipeOf("full"));
  const DecodeRig::Answer expected = AnswerOf(rig, prompt, rig.RecipeOf("full"), full, 8);
  const DecodeRig::Answer answer = AnswerOf(rig, prompt, recipe, rig.Prefill(prompt, recipe), 8);
  EXPECT_EQ(answer.tokens, expected.tokens);
  for (size_t step = 0; step < expected.logits.size(); ++step) {
    EXPECT_LT(LargestDifference(answer.logits[step], expected.logits[step]),
              0.01 * LargestMagnitude(expected.logits[step]));
  }
}

// From the recipe's own ranks: fewer bytes than full from the break-even on, and an answer.
TEST(WireFormTest, LowRankFramesAreSmallAndAnswer) {
  DecodeRig rig(CreateTestDevice(2), kTiny, int64_t{24} << 20, 8, RunType::kBf16);
  const std::vector<int32_t> prompt = rig.Prompt(400);
  const Recipe recipe = rig.RecipeOf("xkv");
  const Poured poured = rig.Prefill(prompt, recipe);
  const int64_t width = 4 * rig.config().kv_heads * rig.config().head_dim;
  EXPECT_LT(BreakEvenTokens(width, recipe.low_rank.value_rank), 400);
  const double share =
      static_cast<double>(BytesOf(poured)) / static_cast<double>(400 * rig.config().geometry().full_bytes_per_token());
  EXPECT_LT(share, 0.36);
  EXPECT_EQ(AnswerOf(rig, prompt, recipe, poured, 8).tokens.size(), 8u);
}

TEST(WireFormTest, LongPromptsAreCutIntoSpansThatABatchHolds) {
  DecodeRig rig(CreateTestDevice(2), kTiny);
  const std::vector<int32_t> prompt = rig.Prompt(300);
  LayerEncoderOptions options;
  options.recipe = rig.RecipeOf("xkv");
  options.recipe.low_rank.key_rank = 1 << 20;  // of all ranks, so that the answers are alike
  options.recipe.low_rank.value_rank = 1 << 20;
  options.geometry = rig.config().geometry();
  options.run_type = RunType::kF32;
  options.prompt_tokens = 300;
  options.model = OpenModelFolder(SourceDir() + "/" + kTiny)->fingerprint;
  options.inverse_frequencies = rig.config().inverse_frequencies;
  const int64_t most = 900 << 10;
  const auto encoder = CreateLowRankEncoder(rig.device(), options, most).value();
  Poured cut;
  auto run = PrefillRun::Create(rig.weights(), rig.stream(), prompt, PrefillOptions()).value();
  for (int32_t layer = 0; layer < rig.config().layers; ++layer) {
    cut.layers.push_back(encoder->Encode(rig.stream(), run->ComputeLayer(layer).value(), 0).value());
  }
  cut.first_token = run->SampleFirst(Sampling(), 300).value();
  const std::vector<EncodedChunk>& spans = cut.layers[3].chunks;
  ASSERT_GT(spans.size(), 1u);
  for (size_t i = 0; i < spans.size(); ++i) {
    EXPECT_LE(spans[i].frame_bytes, most);
    EXPECT_EQ(spans[i].first_token % 64, 0);
    EXPECT_EQ(spans[i].first_token + spans[i].tokens, i + 1 < spans.size() ? spans[i + 1].first_token : 300);
  }
  const Recipe full = rig.RecipeOf("full");
  const DecodeRig::Answer expected = AnswerOf(rig, prompt, full, rig.Prefill(prompt, full), 6);
  EXPECT_EQ(AnswerOf(rig, prompt, options.recipe, cut, 6).tokens, expected.tokens);
  EXPECT_THAT(CreateLowRankEncoder(rig.device(), options, 100 << 10).status().message(), HasSubstr("fewer layers"));
}

TEST(WireFormTest, LowRankFramesOfSomethingElseAreRefused) {
  DecodeRig rig(CreateTestDevice(2), kTiny);
  const std::vector<int32_t> prompt = rig.Prompt(70);
  const Poured poured = rig.Prefill(prompt, rig.RecipeOf("xkv"));
  const absl::string_view frame = View(poured.layers[3].batch);
  const auto message = [&](const WireContext& context, absl::string_view batch) {
    const auto plain = PlainBatch(batch, context);
    EXPECT_TRUE(absl::IsFailedPrecondition(plain.status())) << plain.status();
    return std::string(plain.status().message());
  };
  const WireContext good = ContextOf(rig, 70);
  ASSERT_TRUE(PlainBatch(frame, good).ok());
  WireContext context = good;
  context.prompt_tokens = 69;
  EXPECT_THAT(message(context, frame), HasSubstr("prompt of 69"));
  context = good;
  context.geometry.layers = 3;
  EXPECT_THAT(message(context, frame), HasSubstr("model of 3 layers"));
  context = good;
  context.full = FormatId::kK8V4;
  EXPECT_THAT(message(context, frame), HasSubstr("not full precision"));
  const std::string twice = std::string(frame) + std::string(frame);
  EXPECT_THAT(message(good, twice), HasSubstr("in one batch"));
}

TEST(WireFormTest, TheLowRankEncoderRefusesWhatItCannotEncode) {
  DecodeRig rig(CreateTestDevice(2), kTiny);
  LayerEncoderOptions options;
  options.recipe = rig.RecipeOf("xkv");
  options.geometry = rig.config().geometry();
  options.run_type = RunType::kF32;
  options.prompt_tokens = 10;
  EXPECT_TRUE(absl::IsInvalidArgument(LayerEncoder::Create(rig.device(), options).status()));
  options.inverse_frequencies = rig.config().inverse_frequencies;
  EXPECT_TRUE(LayerEncoder::Create(rig.device(), options).ok());
  options.recipe.high = FormatId::kK8V4;
  EXPECT_THAT(LayerEncoder::Create(rig.device(), options).status().message(), HasSubstr("full precision"));
}

}  // namespace
}  // namespace decant
