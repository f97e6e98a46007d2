// KIVI (compression-methods.md section 4.2, test o) through encoder, frames, import and decode steps, against a plain
// simulation of what is frozen when.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/base/random.h"
#include "gpu/engine/import_plan.h"
#include "gpu/engine/layer_encoder.h"
#include "gpu/engine/page_promise.h"
#include "tests/gpu/engine/decode_rig.h"
#include "tests/gpu/kernels/codec/codec_rig.h"
#include "tests/gpu/kernels/pages/page_rig.h"
#include "tests/support/test_device.h"

namespace decant {
namespace {

constexpr Geometry kGeometry{1, 2, 2, 40};
constexpr int32_t kHeadDim = 40;

std::vector<float> TokenVector(int32_t n, int32_t head, bool is_value) {
  std::vector<float> x(kHeadDim);
  const auto seed = static_cast<uint64_t>((n * 4 + head) * 2 + (is_value ? 1 : 0));
  for (size_t i = 0; i < x.size(); ++i) x[i] = (UniformFloat(seed, i) - 0.5f) * static_cast<float>(1 + i % 5);
  x[3] = 1.5f;  // a group of one value: its scale is 0
  return x;
}

// Section 4.2, token by token: a tail of full keys that is quantised when it holds a window, a tail of full values of
// which the oldest is quantised when there are more than a window. Keys are quantised behind the step that filled the
// tail, the step's attention sees them in full.
class KiviSimulation {
 public:
  KiviSimulation(int32_t head, int32_t window, Element key, Element value)
      : head_(head), window_(window), key_(key), value_(value) {}

  void Prefill(int32_t tokens) {
    frozen_keys_ = tokens - tokens % window_;
    frozen_values_ = std::max(tokens - window_, 0);
    tokens_ = tokens;
  }
  void Step() {
    if (tokens_ - frozen_keys_ == window_) frozen_keys_ = tokens_;
    if (tokens_ - frozen_values_ == window_) ++frozen_values_;
    ++tokens_;
  }

  std::vector<float> Key(int32_t n) const {
    if (n >= frozen_keys_) return TokenVector(n, head_, false);
    std::vector<std::vector<float>> group;
    std::vector<const float*> rows;
    for (int32_t t = n / 32 * 32; t < n / 32 * 32 + 32; ++t) group.push_back(TokenVector(t, head_, false));
    for (const auto& row : group) rows.push_back(row.data());
    const std::vector<float> back = ScalarRoundTripChannels(rows, kHeadDim, key_);
    return {back.begin() + n % 32 * kHeadDim, back.begin() + (n % 32 + 1) * kHeadDim};
  }
  std::vector<float> Value(int32_t n) const {
    const std::vector<float> x = TokenVector(n, head_, true);
    return n < frozen_values_ ? ScalarRoundTrip(x.data(), kHeadDim, value_) : x;
  }
  int32_t tokens() const { return tokens_; }
  int32_t frozen_keys() const { return frozen_keys_; }
  int32_t frozen_values() const { return frozen_values_; }

 private:
  int32_t head_;
  int32_t window_;
  Element key_;
  Element value_;
  int32_t tokens_ = 0;
  int32_t frozen_keys_ = 0;
  int32_t frozen_values_ = 0;
};

void ExpectRows(PageRig& rig, int32_t head, int32_t window, const KiviSimulation& kivi) {
  const auto frozen_keys = rig.Tokens(0, 0, head, kHigh);
  const auto frozen_values = rig.Tokens(0, 0, head, kLow);
  const auto keys = rig.Tokens(0, 0, head, kFixed);
  const auto values = rig.Tokens(0, 0, head, kTail);
  ASSERT_EQ(static_cast<int32_t>(frozen_keys.size()), kivi.frozen_keys());
  ASSERT_EQ(static_cast<int32_t>(frozen_values.size()), kivi.frozen_values());
  ASSERT_EQ(static_cast<int32_t>(keys.size()), kivi.tokens() - kivi.frozen_keys());
  ASSERT_EQ(static_cast<int32_t>(values.size()), kivi.tokens() - kivi.frozen_values());
  for (int32_t n = 0; n < kivi.tokens(); ++n) {
    const auto slot = static_cast<size_t>(n % window);
    const auto at = static_cast<size_t>(n);
    ASSERT_EQ(n < kivi.frozen_keys() ? frozen_keys[at].k : keys[slot].k, kivi.Key(n)) << "key " << n;
    ASSERT_EQ(n < kivi.frozen_values() ? frozen_values[at].v : values[slot].v, kivi.Value(n)) << "value " << n;
  }
}

Recipe SplitRecipe(bool two_bits, int32_t window) {
  Recipe recipe;
  recipe.profile = "kivi";
  recipe.allocation = Allocation::kWindowSplit;
  recipe.online = OnlinePolicy::kFreeze;
  recipe.high = two_bits ? FormatId::kChannelK2 : FormatId::kChannelK4;
  recipe.low = two_bits ? FormatId::kGroupV2 : FormatId::kGroupV4;
  recipe.window_keys = FormatId::kFullK32;
  recipe.window_values = FormatId::kFullV32;
  recipe.window = window;
  return recipe;
}

EncodedLayer EncodePrompt(Device& device, Stream& stream, const Recipe& recipe, int32_t tokens) {
  LayerEncoderOptions options;
  options.recipe = recipe;
  options.geometry = kGeometry;
  options.run_type = RunType::kF32;
  options.prompt_tokens = tokens;
  const auto encoder = LayerEncoder::Create(device, options).value();
  LayerTap tap;
  tap.tokens = tokens;
  tap.capacity = tokens;
  Buffer buffers[2];
  for (const bool is_value : {false, true}) {
    Buffer& buffer = buffers[is_value ? 1 : 0];
    buffer = device.Allocate(int64_t{4} * kGeometry.kv_heads * tokens * kHeadDim).value();
    for (int32_t head = 0; head < kGeometry.kv_heads; ++head) {
      for (int32_t n = 0; n < tokens; ++n) {
        const std::vector<float> x = TokenVector(n, head, is_value);
        stream.Copy(buffer.As<float>(int64_t{4} * (head * tokens + n) * kHeadDim), x.data(), 4 * kHeadDim);
      }
    }
  }
  tap.k = buffers[0].As<void>();
  tap.v = buffers[1].As<void>();
  return encoder->Encode(stream, tap, 0).value();
}

RigOptions OptionsOf(const Recipe& recipe) {
  RigOptions options;
  options.geometry = kGeometry;
  options.page_count = 400;
  options.page_bytes = 2560;  // 16 full halves: a window takes several pages
  options.capacity = 120;
  options.high = recipe.high;
  options.low = recipe.low;
  options.fixed = recipe.window_keys;
  options.tail = recipe.window_values;
  options.policy = recipe.online;
  options.window = recipe.window;
  return options;
}

ImportPlan PlanFor(const Recipe& recipe, int32_t tokens) {
  ImportPlan::Expectation expectation;
  expectation.geometry = kGeometry;
  expectation.prompt_tokens = tokens;
  expectation.formats[kHigh] = recipe.high;
  expectation.formats[kLow] = recipe.low;
  expectation.formats[kFixed] = recipe.window_keys;
  expectation.formats[kTail] = recipe.window_values;
  expectation.split_window = recipe.window;
  return ImportPlan(expectation);
}

void Pour(PageRig& rig, ImportPlan& plan, const std::string& bytes) {
  const auto imports = plan.Take(bytes);
  ASSERT_TRUE(imports.ok()) << imports.status();
  for (const LayerImport& import : *imports) {
    rig.Grow(0, 0, import.growth);
    rig.Import(0, 0, bytes, import.runs);
  }
}

void ExpectFollowsSimulation(int32_t tokens, int32_t window, bool two_bits, bool by_chunk) {
  const auto device = CreateTestDevice(2);
  const auto stream = device->NewStream();
  const Recipe recipe = SplitRecipe(two_bits, window);
  PageRig rig(OptionsOf(recipe));
  ImportPlan plan = PlanFor(recipe, tokens);
  const EncodedLayer layer = EncodePrompt(*device, *stream, recipe, tokens);
  const std::string batch(layer.batch.begin(), layer.batch.end());
  if (by_chunk) {
    for (const EncodedChunk& chunk : layer.chunks) {
      Pour(rig, plan, batch.substr(static_cast<size_t>(chunk.frame_offset), static_cast<size_t>(chunk.frame_bytes)));
    }
  } else {
    Pour(rig, plan, batch);
  }
  EXPECT_TRUE(plan.IsComplete());
  EXPECT_EQ(plan.pruned(), 0);
  EXPECT_EQ(layer.counts.low, 2 * std::max(tokens - window, 0));
  EXPECT_EQ(layer.counts.high + layer.counts.low, 2 * tokens);
  rig.SetLength(0, tokens);
  std::vector<KiviSimulation> heads;
  for (int32_t head = 0; head < kGeometry.kv_heads; ++head) {
    heads.emplace_back(head, window, FormatOf(recipe.high).k, FormatOf(recipe.low).v);
    heads.back().Prefill(tokens);
    ExpectRows(rig, head, window, heads.back());
  }
  for (int32_t n = tokens; n < tokens + 2 * window + 3; ++n) {
    rig.Plan();
    rig.Append([&](int32_t, int32_t, int32_t head, bool is_value) { return TokenVector(n, head, is_value); });
    rig.Advance();
    for (int32_t head = 0; head < kGeometry.kv_heads; ++head) {
      heads[static_cast<size_t>(head)].Step();
      const int32_t slot = n % window;
      if (slot > 1 && slot + 2 < window && n + 1 < tokens + 2 * window + 3) continue;
      ExpectRows(rig, head, window, heads[static_cast<size_t>(head)]);
      if (testing::Test::HasFatalFailure()) FAIL() << "step " << n << " after a prompt of " << tokens;
    }
  }
  EXPECT_FALSE(rig.TookError());
  TierPages pages;
  const FormatId formats[] = {recipe.high, recipe.low, recipe.window_keys, recipe.window_values};
  for (size_t tier = 0; tier < kTierCount; ++tier) {
    pages.tokens[tier] = rig.arena().layouts[static_cast<int>(formats[tier])].tokens;
  }
  const int64_t promised = SplitHeadPages(pages, tokens + 2 * window + 3, window);
  EXPECT_LE(PagesHeld(rig.Head(0, 0, 0)), promised);
  EXPECT_GE(PagesHeld(rig.Head(0, 0, 0)), promised - 2) << "pages are promised that nothing can take";
  rig.Release(0);
  EXPECT_EQ(rig.FreePages(), 400);
}

TEST(SplitRowsTest, FollowTheSimulationFromEveryPromptOverSeveralFlushes) {
  for (const int32_t window : {32, 64}) {
    for (const int32_t tokens : {1, window - 1, window, window + 1, 2 * window - 1, 2 * window, 3 * window + 7, 200}) {
      for (const bool two_bits : {false, true}) {
        SCOPED_TRACE(testing::Message() << tokens << " tokens, window " << window << ", two bits " << two_bits);
        ExpectFollowsSimulation(tokens, window, two_bits, tokens % 2 == 0);
      }
    }
  }
}

TEST(SplitRowsTest, OnlyChunksWithBothKindsOfAHalfListPositions) {
  const auto device = CreateTestDevice(1);
  const auto stream = device->NewStream();
  const EncodedLayer layer = EncodePrompt(*device, *stream, SplitRecipe(false, 32), 200);
  const std::string batch(layer.batch.begin(), layer.batch.end());
  const auto parts = SplitBatch(batch);
  ASSERT_TRUE(parts.ok()) << parts.status();
  ASSERT_EQ(parts->size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    // 192 keys and 168 values are frozen: chunk 2 (128 to 191) mixes values, chunk 3 holds the window alone.
    EXPECT_EQ(parts->at(i).frame.header.explicit_positions, i == 2) << i;
    EXPECT_EQ(parts->at(i).frame.header.provenance, i == 3 ? Provenance::kExact : Provenance::kQuantised) << i;
  }
}

TEST(SplitRowsTest, FramesSplitElsewhereAreRefused) {
  const auto device = CreateTestDevice(1);
  const auto stream = device->NewStream();
  const Recipe recipe = SplitRecipe(false, 32);
  const EncodedLayer layer = EncodePrompt(*device, *stream, recipe, 50);
  const std::string batch(layer.batch.begin(), layer.batch.end());
  EXPECT_TRUE(PlanFor(recipe, 50).Take(batch).ok());
  // A longer prompt would have frozen more of this chunk.
  EXPECT_EQ(PlanFor(recipe, 100).Take(batch).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(PlanFor(SplitRecipe(false, 64), 50).Take(batch).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(SplitRowsTest, GroupsMustNotCrossChunks) {
  const auto device = CreateTestDevice(1);
  LayerEncoderOptions options;
  options.recipe = SplitRecipe(false, 32);
  options.geometry = kGeometry;
  options.prompt_tokens = 100;
  options.chunk_tokens = 48;
  EXPECT_EQ(LayerEncoder::Create(*device, options).status().code(), absl::StatusCode::kInvalidArgument);
  options.chunk_tokens = 64;
  EXPECT_TRUE(LayerEncoder::Create(*device, options).ok());
  options.recipe.window = 40;
  EXPECT_EQ(LayerEncoder::Create(*device, options).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(KiviTest, GeneratesEndToEndNearFullPrecisionInFewerBytes) {
  DecodeRig rig(CreateTestDevice(2), "deploy/models/decant-tiny");
  for (const int32_t tokens : {5, 31, 32, 33, 300}) {
    const std::vector<int32_t> prompt = rig.Prompt(tokens);
    std::vector<float> logits[3];
    int64_t bytes[3] = {0, 0, 0};
    size_t i = 0;
    for (const char* profile : {"full", "kivi4", "kivi2"}) {
      const SequenceId id = rig.Start(prompt, profile, 80);
      ASSERT_TRUE(rig.batch().Step().ok());
      logits[i] = rig.StepLogits();
      while (rig.batch().running() > 0) ASSERT_TRUE(rig.batch().Step().ok());
      const SequenceUse use = rig.batch().Use(id).value();
      bytes[i++] = use.resident_bytes;
      const int64_t heads = int64_t{rig.config().layers} * rig.config().kv_heads;
      EXPECT_EQ(use.tokens.high + use.tokens.low, heads * (tokens + 79)) << profile;
      EXPECT_EQ(use.resident_bytes, use.pages * rig.batch().page_bytes());
      rig.batch().Remove(id);
      EXPECT_EQ(rig.batch().unreserved_pages(), rig.batch().total_pages());
    }
    EXPECT_LT(LargestDifference(logits[0], logits[1]), 0.25 * LargestMagnitude(logits[0])) << tokens;
    if (tokens < 32) {
      EXPECT_LT(LargestDifference(logits[0], logits[1]), 1e-4 * LargestMagnitude(logits[0])) << "nothing is frozen";
    } else {
      EXPECT_LT(LargestDifference(logits[0], logits[1]), LargestDifference(logits[0], logits[2]));
    }
    if (tokens == 300) {
      EXPECT_LT(bytes[1], bytes[0] / 2);
      EXPECT_LE(bytes[2], bytes[1]);
    }
  }
}

TEST(KiviTest, RunsBesideOtherProfilesAsAlone) {
  DecodeRig rig(CreateTestDevice(2), "deploy/models/decant-tiny");
  const std::vector<int32_t> prompt = rig.Prompt(100);
  const Poured poured = rig.Prefill(prompt, rig.RecipeOf("kivi2"));
  const SequenceId alone = rig.Start(prompt, "kivi2", 50);
  const std::vector<int32_t> expected = rig.Finish(alone, poured.first_token).tokens;
  rig.batch().Remove(alone);
  rig.Start(rig.Prompt(70, 2), "diffkv", 60);
  const SequenceId beside = rig.Start(prompt, "kivi2", 50);
  rig.Start(rig.Prompt(130, 3), "kivi4", 60);
  EXPECT_EQ(rig.Finish(beside, poured.first_token).tokens, expected);
}

}  // namespace
}  // namespace decant
