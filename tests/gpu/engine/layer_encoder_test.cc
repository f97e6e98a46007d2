#include "gpu/engine/layer_encoder.h"

#include <gtest/gtest.h>

#include <cstring>

#include "common/kv/batch.h"
#include "gpu/engine/prefix_loader.h"
#include "tests/gpu/engine/decode_rig.h"
#include "tests/support/test_device.h"

namespace decant {
namespace {

constexpr char kTiny[] = "deploy/models/decant-tiny";
constexpr int32_t kChunk = 64;

PrefixLoaderOptions LoaderOptions(const DecodeRig& rig, const Digest& model) {
  PrefixLoaderOptions options;
  options.geometry = rig.config().geometry();
  options.run_type = rig.weights().run_type();
  options.chunk_tokens = kChunk;
  options.model = model;
  options.k_norm = rig.config().qk_norm;
  return options;
}

Digest FingerprintOf(const std::string& folder) {
  return OpenModelFolder(std::string(DECANT_SOURCE_DIR) + "/" + folder)->fingerprint;
}

std::vector<StoredFrame> WholeChunks(const EncodedLayer& layer, size_t count) {
  std::vector<StoredFrame> frames;
  for (size_t i = 0; i < count; ++i) {
    frames.push_back(absl::MakeConstSpan(layer.batch)
                         .subspan(static_cast<size_t>(layer.chunks[i].frame_offset),
                                  static_cast<size_t>(layer.chunks[i].frame_bytes)));
  }
  return frames;
}

// Prefill of `prompt` whose first `chunks` chunks come from `stored`; hands every tap on.
template <typename OnTap>
std::vector<float> PrefillReusing(DecodeRig& rig, const std::vector<int32_t>& prompt, const Poured& stored,
                                  int32_t chunks, ScoreSource score, const OnTap& on_tap) {
  PrefillOptions options;
  options.reused = chunks * kChunk;
  options.score = score;
  auto run = PrefillRun::Create(rig.weights(), rig.stream(), prompt, options).value();
  const auto loader = PrefixLoader::Create(rig.device(), LoaderOptions(rig, FingerprintOf(kTiny))).value();
  for (int32_t layer = 0; layer < rig.config().layers; ++layer) {
    const std::vector<StoredFrame> frames =
        WholeChunks(stored.layers[static_cast<size_t>(layer)], static_cast<size_t>(chunks));
    const absl::Status loaded = loader->Load(rig.stream(), layer, frames, run->PrefixTarget(layer));
    EXPECT_TRUE(loaded.ok()) << loaded;
    on_tap(run->ComputeLayer(layer).value());
  }
  std::vector<float> logits((prompt.size() - static_cast<size_t>(options.reused)) *
                            static_cast<size_t>(rig.config().vocabulary));
  EXPECT_TRUE(run->CopyLogits(absl::MakeSpan(logits)).ok());
  return logits;
}

TEST(LayerEncoderTest, BatchesSplitIntoTheChunksThatWereAnnounced) {
  DecodeRig rig(CreateTestDevice(2), kTiny);
  const Poured poured = rig.Prefill(rig.Prompt(150), rig.RecipeOf("diffkv"));
  for (const EncodedLayer& layer : poured.layers) {
    const auto parts = SplitBatch({reinterpret_cast<const char*>(layer.batch.data()), layer.batch.size()}).value();
    ASSERT_EQ(parts.size(), 3u);
    ASSERT_EQ(layer.chunks.size(), 3u);
    int64_t kept = 0;
    for (size_t i = 0; i < parts.size(); ++i) {
      EXPECT_EQ(parts[i].frame.layout.offset, layer.chunks[i].frame_offset);
      EXPECT_EQ(parts[i].frame.layout.bytes, layer.chunks[i].frame_bytes);
      EXPECT_EQ(parts[i].frame.header.first_position, layer.chunks[i].first_token);
      EXPECT_EQ(parts[i].frame.header.span, layer.chunks[i].tokens);
      ASSERT_TRUE(parts[i].overlay.has_value());
      EXPECT_EQ(parts[i].overlay->layout.offset, layer.chunks[i].overlay_offset);
      for (const FrameRun& run : parts[i].frame.layout.runs) kept += run.tokens;
    }
    EXPECT_EQ(layer.counts.high + layer.counts.low, kept);
    EXPECT_EQ(kept + layer.counts.pruned, 150 * rig.config().kv_heads);
    EXPECT_GT(layer.key_error.Relative(), 0);
  }
}

TEST(LayerEncoderTest, FullFramesAreExact) {
  DecodeRig rig(CreateTestDevice(2), kTiny);
  const Poured poured = rig.Prefill(rig.Prompt(65), rig.RecipeOf("full"));
  for (const EncodedLayer& layer : poured.layers) {
    EXPECT_EQ(layer.key_error.squared_difference, 0);
    const auto parts = SplitBatch({reinterpret_cast<const char*>(layer.batch.data()), layer.batch.size()}).value();
    for (const BatchPart& part : parts) {
      EXPECT_EQ(part.frame.header.provenance, Provenance::kExact);
      EXPECT_FALSE(part.overlay.has_value());
    }
  }
}

TEST(LayerEncoderTest, AStoredFullPrefixGivesTheColdLogits) {
  DecodeRig rig(CreateTestDevice(2), kTiny);
  const std::vector<int32_t> prompt = rig.Prompt(150);
  const Poured cold = rig.Prefill(prompt, rig.RecipeOf("full"));
  const std::vector<float> expected = rig.PrefillLogits(prompt);
  const std::vector<float> warm = PrefillReusing(rig, prompt, cold, 2, ScoreSource::kNone, [](const LayerTap&) {});
  const std::vector<float> tail(expected.end() - static_cast<std::ptrdiff_t>(warm.size()), expected.end());
  EXPECT_LT(LargestDifference(warm, tail), 1e-4 * LargestMagnitude(tail));
}

// A k8v4 prefix goes to decode unchanged, with a fresh overlay, and the suffix is encoded with the request's recipe.
TEST(LayerEncoderTest, AReusedPrefixTravelsWithFreshOverlays) {
  DecodeRig rig(CreateTestDevice(2), kTiny);
  const std::vector<int32_t> prompt = rig.Prompt(200);
  const Poured stored = rig.Prefill(prompt, rig.RecipeOf("k8v4"));
  const Recipe recipe = rig.RecipeOf("diffkv");
  const SequenceId id = rig.batch().Reserve(rig.Options(prompt, recipe, 5)).value();
  LayerEncoderOptions options;
  options.recipe = recipe;
  options.geometry = rig.config().geometry();
  options.run_type = rig.weights().run_type();
  options.prompt_tokens = 200;
  options.model = FingerprintOf(kTiny);
  options.prefix_provenance = Provenance::kQuantised;
  const auto encoder = LayerEncoder::Create(rig.device(), options).value();
  PrefillReusing(rig, prompt, stored, 2, recipe.score, [&](const LayerTap& tap) {
    const EncodedLayer layer = encoder->Encode(rig.stream(), tap, 2).value();
    ASSERT_EQ(layer.chunks.size(), 4u);
    const std::vector<StoredFrame> prefix = WholeChunks(stored.layers[static_cast<size_t>(tap.layer)], 2);
    std::vector<uint8_t> batch;
    for (size_t i = 0; i < layer.chunks.size(); ++i) {
      EXPECT_EQ(layer.chunks[i].frame_bytes == 0, i < 2);
      if (i < 2) batch.insert(batch.end(), prefix[i].begin(), prefix[i].end());
      const auto first = layer.batch.begin() + layer.chunks[i].frame_offset;
      batch.insert(batch.end(), first, first + layer.chunks[i].frame_bytes + layer.chunks[i].overlay_bytes);
    }
    const absl::Status imported = rig.batch().Import(id, batch);
    ASSERT_TRUE(imported.ok()) << imported;
  });
  ASSERT_TRUE(rig.batch().Join(id, 5).ok());
  const RowsCopy rows = rig.batch().CopyRows(id).value();
  EXPECT_EQ(rows.rows.first_query, 128);
  for (const HeadState& head : rows.heads) EXPECT_GE(head.tokens[kHigh], 128);
  EXPECT_TRUE(rig.batch().Step().ok());
}

TEST(PrefixLoaderTest, RefusesFramesThatAreNotTheChunk) {
  DecodeRig rig(CreateTestDevice(2), kTiny);
  const Digest model = FingerprintOf(kTiny);
  const auto loader = PrefixLoader::Create(rig.device(), LoaderOptions(rig, model)).value();
  const Poured stored = rig.Prefill(rig.Prompt(150), rig.RecipeOf("k8v4"));
  const std::vector<StoredFrame> frames = WholeChunks(stored.layers[1], 3);
  const auto failed = absl::StatusCode::kFailedPrecondition;
  EXPECT_TRUE(loader->Check(1, 0, frames[0]).ok());
  EXPECT_TRUE(loader->Check(1, 1, frames[1]).ok());
  EXPECT_EQ(loader->Check(2, 0, frames[0]).code(), failed) << "another layer";
  EXPECT_EQ(loader->Check(1, 0, frames[1]).code(), failed) << "another chunk";
  EXPECT_EQ(loader->Check(1, 2, frames[2]).code(), failed) << "not a whole chunk";
  EXPECT_EQ(loader->Check(1, 0, frames[0].first(40)).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(loader->Check(1, 0, StoredFrame()).code(), absl::StatusCode::kDataLoss);
  std::vector<uint8_t> flipped(frames[0].begin(), frames[0].end());
  flipped[200] ^= 4;
  EXPECT_EQ(loader->Check(1, 0, flipped).code(), absl::StatusCode::kDataLoss);
  Digest other = model;
  other.bytes[0] ^= 1;
  EXPECT_EQ(PrefixLoader::Create(rig.device(), LoaderOptions(rig, other)).value()->Check(1, 0, frames[0]).code(),
            failed);
  // The private form of a request is no prefix for another one.
  Recipe harsh = rig.RecipeOf("diffkv");
  harsh.alpha_high = 5;
  harsh.alpha_low = 1;
  const Poured pruned = rig.Prefill(rig.Prompt(150), harsh);
  EXPECT_EQ(loader->Check(1, 0, WholeChunks(pruned.layers[1], 1)[0]).code(), failed);
}

TEST(LayerEncoderTest, RefusesWhatCannotBe) {
  DecodeRig rig(CreateTestDevice(1), kTiny);
  LayerEncoderOptions options;
  options.recipe = rig.RecipeOf("k8v4");
  options.geometry = rig.config().geometry();
  EXPECT_EQ(LayerEncoder::Create(rig.device(), options).status().code(), absl::StatusCode::kInvalidArgument);
  options.prompt_tokens = 10;
  const auto encoder = LayerEncoder::Create(rig.device(), options).value();
  LayerTap tap;
  tap.tokens = 11;
  EXPECT_EQ(encoder->Encode(rig.stream(), tap, 0).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace decant
