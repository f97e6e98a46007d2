#include "gpu/engine/layer_encoder.h"

#include <gtest/gtest.h>

#include <cstring>

#include "common/kv/batch.h"
#include "gpu/engine/prefix_loader.h"
#include "tests/gpu/engine/decode_rig.h"
#include "tests/support/paths/paths.h"
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

Digest FingerprintOf(const std::string& folder) { return OpenModelFolder(SourceDir() + "/" + folder)->fingerprint; }

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

// Reserves `prompt`, whose first `chunks` chunks go to decode as they were stored, with fresh overlays, and whose rest
// is encoded with `recipe`; imports all.
SequenceId ImportReusing(DecodeRig& rig, const std::vector<int32_t>& prompt, const Poured& stored, int32_t chunks,
                         const Recipe& recipe, int32_t max_tokens) {
  const SequenceId id = rig.batch().Reserve(rig.Options(prompt, recipe, max_tokens)).value();
  LayerEncoderOptions options;
  options.recipe = recipe;
  options.geometry = rig.config().geometry();
  options.run_type = rig.weights().run_type();
  options.prompt_tokens = static_cast<int32_t>(prompt.size());
  options.model = FingerprintOf(kTiny);
  options.prefix_provenance = Provenance::kQuantised;
  const auto encoder = LayerEncoder::Create(rig.device(), options).value();
  PrefillReusing(rig, prompt, stored, chunks, recipe.score, [&](const LayerTap& tap) {
    const EncodedLayer layer = encoder->Encode(rig.stream(), tap, chunks).value();
    ASSERT_EQ(layer.chunks.size(), (prompt.size() + kChunk - 1) / kChunk);
    const auto reused = static_cast<size_t>(chunks);
    const std::vector<StoredFrame> prefix = WholeChunks(stored.layers[static_cast<size_t>(tap.layer)], reused);
    std::vector<uint8_t> batch;
    for (size_t i = 0; i < layer.chunks.size(); ++i) {
      EXPECT_EQ(layer.chunks[i].frame_bytes == 0, i < reused);
      if (i < reused) batch.insert(batch.end(), prefix[i].begin(), prefix[i].end());
      const auto first = layer.batch.begin() + layer.chunks[i].frame_offset;
      batch.insert(batch.end(), first, first + layer.chunks[i].frame_bytes + layer.chunks[i].overlay_bytes);
    }
    const absl::Status imported = rig.batch().Import(id, batch);
    ASSERT_TRUE(imported.ok()) << imported;
  });
  return id;
}

// Fewer new queries than the window say too little: the prefix keeps its precision.
TEST(LayerEncoderTest, AReusedPrefixTravelsWithFreshOverlays) {
  DecodeRig rig(CreateTestDevice(2), kTiny);
  const std::vector<int32_t> prompt = rig.Prompt(191);
  const Poured stored = rig.Prefill(prompt, rig.RecipeOf("k8v4"));
  const SequenceId id = ImportReusing(rig, prompt, stored, 2, rig.RecipeOf("diffkv"), 5);
  ASSERT_TRUE(rig.batch().Join(id, 5).ok());
  const RowsCopy rows = rig.batch().CopyRows(id).value();
  EXPECT_EQ(rows.rows.first_query, 128);
  for (const HeadState& head : rows.heads) EXPECT_GE(head.tokens[kHigh], 128);
  EXPECT_EQ(rig.batch().Use(id).value().tokens.demoted, 0);
  EXPECT_TRUE(rig.batch().Step().ok());
}

// With enough new queries Join gives the prefix the tiers of the prompt's policy.
TEST(LayerEncoderTest, AReusedPrefixSettlesAtJoin) {
  DecodeRig rig(CreateTestDevice(2), kTiny, int64_t{4} << 20);
  const std::vector<int32_t> prompt = rig.Prompt(512 + 64);
  const Poured stored = rig.Prefill(prompt, rig.RecipeOf("k8v4"));
  const int64_t all = rig.batch().total_pages();
  for (const char* profile : {"diffkv", "diffkv-release", "diffkv"}) {
    SCOPED_TRACE(profile);
    const SequenceId id = ImportReusing(rig, prompt, stored, 8, rig.RecipeOf(profile), 30);
    const SequenceUse before = rig.batch().Use(id).value();
    const int64_t promised = all - rig.batch().unreserved_pages();
    ASSERT_TRUE(rig.batch().Join(id, 5).ok());
    const SequenceUse after = rig.batch().Use(id).value();
    EXPECT_GT(after.tokens.demoted, 0);
    EXPECT_EQ(after.tokens.low, before.tokens.low + after.tokens.demoted);
    EXPECT_EQ(after.tokens.high, before.tokens.high - after.tokens.demoted - after.tokens.dropped);
    EXPECT_LT(after.pages, before.pages);
    const int64_t left = all - rig.batch().unreserved_pages();
    EXPECT_LT(left, promised);
    EXPECT_GE(left, after.pages);
    int steps = 0;
    for (; rig.batch().running() > 0; ++steps) ASSERT_TRUE(rig.batch().Step().ok());
    EXPECT_EQ(steps, 29);
    EXPECT_LE(rig.batch().Use(id).value().pages, left) << "more pages than promised";
    rig.batch().Remove(id);
    EXPECT_EQ(rig.batch().unreserved_pages(), all);
  }
  // Every page can be handed out again.
  int32_t longest = 1;
  const Recipe full = rig.RecipeOf("full");
  const auto fits = [&](int32_t tokens) {
    return rig.batch().WorstCasePages(rig.Options(rig.Prompt(tokens), full, 1)) <= all;
  };
  while (fits(longest + 1)) ++longest;
  const SequenceId id = rig.Start(rig.Prompt(longest), "full", 1);
  EXPECT_GE(rig.batch().Use(id).value().pages, all - 12);
}

// Prefill has already given every token of a prompt without reuse its tier: Join finds nothing to move.
TEST(LayerEncoderTest, JoinLeavesAColdPromptBitForBit) {
  for (const char* profile : {"diffkv", "diffkv-release"}) {
    DecodeRig rig(CreateTestDevice(2), kTiny, int64_t{4} << 20);
    const std::vector<int32_t> prompt = rig.Prompt(300);
    const Recipe recipe = rig.RecipeOf(profile);
    const Poured poured = rig.Prefill(prompt, recipe);
    const SequenceId id = rig.batch().Reserve(rig.Options(prompt, recipe, 5)).value();
    for (const EncodedLayer& layer : poured.layers) ASSERT_TRUE(rig.batch().Import(id, layer.batch).ok());
    RowsCopy rows[2];
    std::vector<uint8_t> pages[2];
    for (const int i : {0, 1}) {
      if (i == 1) {
        ASSERT_TRUE(rig.batch().Join(id, poured.first_token).ok());
      }
      rows[i] = rig.batch().CopyRows(id).value();
      pages[i].resize(static_cast<size_t>(rig.batch().pages().bytes));
      rig.stream().Copy(pages[i].data(), rig.batch().pages().address, rig.batch().pages().bytes);
    }
    EXPECT_EQ(pages[0], pages[1]) << profile;
    EXPECT_EQ(rows[0].page_ids, rows[1].page_ids) << profile;
    ASSERT_EQ(rows[0].heads.size(), rows[1].heads.size());
    EXPECT_EQ(std::memcmp(rows[0].heads.data(), rows[1].heads.data(), rows[0].heads.size() * sizeof(HeadState)), 0);
    const SequenceUse use = rig.batch().Use(id).value();
    EXPECT_GT(use.tokens.low + use.tokens.pruned, 0) << "the test saw no policy";
    EXPECT_EQ(use.tokens.demoted + use.tokens.dropped, 0);
  }
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
