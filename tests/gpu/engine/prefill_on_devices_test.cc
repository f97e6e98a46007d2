// The same engine on every device: what passes on the launcher runs on kernels only, touches no device memory itself
// and reads nothing back between layers.
#include <gtest/gtest.h>

#include <cmath>

#include "gpu/kernels/nn/packed_layout.h"
#include "tests/gpu/engine/golden_models.h"
#include "tests/support/kernel_devices.h"
#include "tests/support/test_device.h"

namespace decant {
namespace {

class PrefillOnDevicesTest : public testing::TestWithParam<KernelDevice> {
 protected:
  const std::unique_ptr<Device> device_ = GetParam().create(int64_t{256} << 20);
};
DECANT_ON_KERNEL_DEVICES(PrefillOnDevicesTest);

TEST_P(PrefillOnDevicesTest, GivesTheReferencesLogitsInEveryArchitecture) {
  for (const std::string& name : GoldenModelNames()) {
    const GoldenModel model = LoadGolden(*device_, name, RunType::kF32);
    EXPECT_LE(RelativeDifference(RunPrefill(model, PrefillOptions()), model.logits), 1e-3f) << name;
  }
  const GoldenModel model = LoadGolden(*device_, "qwen3", RunType::kBf16);
  PrefillOptions options;
  options.tile = 17;
  EXPECT_LE(RelativeDifference(RunPrefill(model, options), model.logits), 0.05f);
}

// What a finished layer shows, brought to the host.
struct Seen {
  std::vector<float> k;
  std::vector<float> pre_rope_k;
  std::vector<float> v;
  std::vector<float> sums;
  std::vector<float> window_sums;
  std::vector<float> peaks;
  std::vector<int32_t> positions;
};

Seen LookAt(const GoldenModel& model, const LayerTap& tap) {
  const ModelConfig& config = model.weights->config();
  Stream& stream = *model.stream;
  const auto floats = [&](const void* from, int64_t count) {
    std::vector<float> values(static_cast<size_t>(count));
    stream.Copy(values.data(), from, count * 4);
    return values;
  };
  const int64_t keys = int64_t{config.kv_heads} * tap.capacity * config.head_dim;
  const int64_t sums = int64_t{config.q_heads} * tap.sum_stride;
  const int64_t peaks = int64_t{config.kv_heads} * config.head_dim;
  Seen seen;
  seen.k = floats(tap.k, keys);
  seen.pre_rope_k = floats(tap.pre_rope_k, keys);
  seen.v = floats(tap.v, keys);
  seen.sums = floats(tap.sums, sums);
  seen.window_sums = floats(tap.more_sums.at(0).sums, sums);
  seen.peaks = floats(tap.query_peaks, peaks);
  const std::vector<float> key_peaks = floats(tap.key_peaks, peaks);
  seen.peaks.insert(seen.peaks.end(), key_peaks.begin(), key_peaks.end());
  if (tap.positions != nullptr) {
    seen.positions.resize(static_cast<size_t>(tap.tokens));
    stream.Copy(seen.positions.data(), tap.positions, int64_t{4} * tap.tokens);
  }
  EXPECT_TRUE(stream.Synchronize().ok());
  return seen;
}

// Of both layers, with a selection of tokens between them where `select`, and a replay of a chunk after them.
struct Pass {
  std::vector<Seen> layers;
  std::vector<float> logits;
  std::vector<float> replay;
};

Pass PassOn(Device& device, bool select) {
  const GoldenModel model = LoadGolden(device, "llama_llama3", RunType::kF32, 128);
  const ModelConfig& config = model.weights->config();
  PrefillOptions options;
  options.tile = 19;
  options.score = ScoreSource::kAllLaterQueries;
  options.more_scores = {{ScoreSource::kLastWindow, 6}};
  options.pre_rope_keys = true;
  options.channel_peaks = true;
  options.keep_layers = config.layers;
  auto run = PrefillRun::Create(*model.weights, *model.stream, model.tokens, options).value();
  Pass pass;
  for (int32_t layer = 0; layer < config.layers; ++layer) {
    pass.layers.push_back(LookAt(model, run->ComputeLayer(layer).value()));
    if (select && layer == 0) {
      TokenSelection selection;
      selection.kept = 21;
      selection.window = 6;
      selection.kernel = 3;
      EXPECT_TRUE(run->SelectRows(selection).ok());
    }
  }
  pass.logits.resize(static_cast<size_t>(run->rows()) * static_cast<size_t>(config.vocabulary));
  EXPECT_TRUE(run->CopyLogits(absl::MakeSpan(pass.logits)).ok());
  if (select) return pass;
  ReplayChunk chunk;
  chunk.begin = 5;
  chunk.end = 30;
  chunk.tokens.assign(model.tokens.begin() + 3, model.tokens.begin() + 36);
  EXPECT_TRUE(run->BeginReplay({chunk}, 4).ok());
  for (int32_t layer = 0; layer < config.layers; ++layer) EXPECT_TRUE(run->ReplayLayer(layer).ok());
  pass.replay.resize(static_cast<size_t>(config.layers * config.kv_heads) * model.tokens.size());
  model.stream->Copy(pass.replay.data(), run->replay_scores(), static_cast<int64_t>(pass.replay.size()) * 4);
  EXPECT_TRUE(model.stream->Synchronize().ok());
  return pass;
}

TEST_P(PrefillOnDevicesTest, ShowsTheHostsKeysValuesAndSignals) {
  for (const bool select : {false, true}) {
    const Pass found = PassOn(*device_, select);
    const Pass wanted = PassOn(*CreateTestDevice(1), select);
    EXPECT_LE(RelativeDifference(found.logits, wanted.logits), 1e-4f);
    for (size_t layer = 0; layer < wanted.layers.size(); ++layer) {
      const Seen& a = found.layers[layer];
      const Seen& b = wanted.layers[layer];
      EXPECT_EQ(a.positions, b.positions) << layer;
      // Behind the rows of a selection memory holds what the layer before left.
      if (select && layer > 0) continue;
      EXPECT_LE(RelativeDifference(a.k, b.k), 1e-4f) << layer;
      EXPECT_LE(RelativeDifference(a.pre_rope_k, b.pre_rope_k), 1e-4f) << layer;
      EXPECT_LE(RelativeDifference(a.v, b.v), 1e-4f) << layer;
      EXPECT_LE(RelativeDifference(a.sums, b.sums), 1e-4f) << layer;
      EXPECT_LE(RelativeDifference(a.window_sums, b.window_sums), 1e-4f) << layer;
      EXPECT_LE(RelativeDifference(a.peaks, b.peaks), 1e-4f) << layer;
    }
    if (select) continue;
    EXPECT_LE(RelativeDifference(found.replay, wanted.replay), 1e-4f);
  }
}

TEST_P(PrefillOnDevicesTest, SamplesTheHostsFirstToken) {
  const auto host = CreateTestDevice(1);
  for (const Sampling& sampling : {Sampling{}, Sampling{0.9f, 40, 0.95f, 7}}) {
    std::vector<int32_t> tokens;
    for (Device* device : {device_.get(), host.get()}) {
      const GoldenModel model = LoadGolden(*device, "qwen2", RunType::kF32);
      auto run = PrefillRun::Create(*model.weights, *model.stream, model.tokens, PrefillOptions()).value();
      for (int32_t layer = 0; layer < run->layers(); ++layer) ASSERT_TRUE(run->ComputeLayer(layer).ok());
      tokens.push_back(run->SampleFirst(sampling, 40).value());
    }
    EXPECT_EQ(tokens[0], tokens[1]);
  }
}

}  // namespace
}  // namespace decant
