// What PrefillRun promises beside the right logits: reuse, taps and refusals.
#include "gpu/engine/prefill_run.h"

#include <gmock/gmock.h>

#include <cmath>

#include "gpu/kernels/nn/packed_layout.h"
#include "tests/gpu/engine/golden_models.h"
#include "tests/support/test_device.h"

namespace decant {
namespace {

using testing::HasSubstr;

// K and V of all layers, read back from the taps: [layers][kv_heads x tokens x head_dim] bytes.
struct KeyValues {
  std::vector<std::vector<uint8_t>> k;
  std::vector<std::vector<uint8_t>> v;
};

std::vector<uint8_t> ReadHeads(const GoldenModel& model, const LayerTap& tap, const void* from) {
  const ModelConfig& config = model.weights->config();
  const int64_t head = int64_t{tap.tokens} * config.head_dim * RunTypeBytes(model.weights->run_type());
  const int64_t stride = tap.capacity * config.head_dim * RunTypeBytes(model.weights->run_type());
  std::vector<uint8_t> bytes(static_cast<size_t>(head * config.kv_heads));
  for (int32_t h = 0; h < config.kv_heads; ++h) {
    model.stream->Copy(bytes.data() + h * head, static_cast<const char*>(from) + h * stride, head);
  }
  return bytes;
}

// Copies the first `tokens` of what ReadHeads gave into a prefix target.
void WriteHeads(const GoldenModel& model, const std::vector<uint8_t>& bytes, int32_t total, const LayerTap& target,
                void* to) {
  const ModelConfig& config = model.weights->config();
  const int64_t token = int64_t{config.head_dim} * RunTypeBytes(model.weights->run_type());
  for (int32_t h = 0; h < config.kv_heads; ++h) {
    model.stream->Copy(static_cast<char*>(to) + h * target.capacity * token, bytes.data() + h * total * token,
                       target.tokens * token);
  }
}

class PrefillRunTest : public testing::TestWithParam<std::tuple<std::string, RunType>> {
 protected:
  const std::unique_ptr<Device> device_ = CreateTestDevice(2);
  const GoldenModel model_ = LoadGolden(*device_, std::get<0>(GetParam()), std::get<1>(GetParam()));
  const int32_t tokens_ = static_cast<int32_t>(model_.tokens.size());
};

TEST_P(PrefillRunTest, AReusedPrefixGivesTheColdRunsLogitsAndKeyValues) {
  KeyValues cold;
  const std::vector<float> logits =
      RunPrefill(model_, PrefillOptions(), [&](PrefillRun&, int32_t, const LayerTap& tap) {
        if (tap.k == nullptr) return;
        cold.k.push_back(ReadHeads(model_, tap, tap.k));
        cold.v.push_back(ReadHeads(model_, tap, tap.v));
      });
  for (const int32_t reused : {1, 17, 39}) {
    PrefillOptions options;
    options.reused = reused;
    KeyValues warm;
    const std::vector<float> rest =
        RunPrefill(model_, options, [&](PrefillRun& run, int32_t layer, const LayerTap& tap) {
          const auto at = static_cast<size_t>(layer);
          if (tap.k == nullptr) {
            const LayerTap target = run.PrefixTarget(layer);
            ASSERT_EQ(target.tokens, reused);
            WriteHeads(model_, cold.k[at], tokens_, target, target.k);
            WriteHeads(model_, cold.v[at], tokens_, target, target.v);
            return;
          }
          warm.k.push_back(ReadHeads(model_, tap, tap.k));
          warm.v.push_back(ReadHeads(model_, tap, tap.v));
        });
    const std::vector<float> wanted(logits.end() - static_cast<std::ptrdiff_t>(rest.size()), logits.end());
    EXPECT_LE(RelativeDifference(rest, wanted), 0.02f) << reused;
    // Bits of bf16 products may depend on the number of rows where oneDNN uses AMX.
    if (std::get<1>(GetParam()) == RunType::kBf16) continue;
    EXPECT_EQ(rest, wanted) << reused;
    EXPECT_EQ(warm.k, cold.k) << reused;
    EXPECT_EQ(warm.v, cold.v) << reused;
  }
}

TEST_P(PrefillRunTest, SumsOfAllLaterQueriesLeaveOutTheOwnOne) {
  PrefillOptions options;
  options.score = ScoreSource::kAllLaterQueries;
  options.tile = 9;
  int taps = 0;
  RunPrefill(model_, options, [&](PrefillRun&, int32_t, const LayerTap& tap) {
    if (tap.k == nullptr) return;
    ++taps;
    EXPECT_EQ(tap.first_query, 0);
    const auto heads = static_cast<size_t>(model_.weights->config().q_heads);
    const auto stride = static_cast<size_t>(tap.sum_stride);
    std::vector<float> sums(heads * stride);
    model_.stream->Copy(sums.data(), tap.sums, static_cast<int64_t>(sums.size() * 4));
    for (size_t h = 0; h < heads; ++h) {
      // Nothing comes after the last token; query 1 sees keys 0 and 1, so every query leaves less than 1 to others.
      EXPECT_EQ(sums[h * stride + static_cast<size_t>(tokens_) - 1], 0);
      double total = 0;
      for (size_t i = 0; i < static_cast<size_t>(tokens_); ++i) total += sums[h * stride + i];
      EXPECT_GT(total, 0);
      EXPECT_LT(total, tokens_ - 1);
    }
  });
  EXPECT_EQ(taps, model_.weights->config().layers);
}

TEST_P(PrefillRunTest, SumsOfTheLastWindowCountWholeQueries) {
  PrefillOptions options;
  options.score = ScoreSource::kLastWindow;
  options.window = 12;
  options.tile = 16;
  RunPrefill(model_, options, [&](PrefillRun&, int32_t, const LayerTap& tap) {
    if (tap.k == nullptr) return;
    EXPECT_EQ(tap.first_query, tokens_ - 12);
    const auto heads = static_cast<size_t>(model_.weights->config().q_heads);
    std::vector<float> sums(heads * static_cast<size_t>(tap.sum_stride));
    model_.stream->Copy(sums.data(), tap.sums, static_cast<int64_t>(sums.size() * 4));
    for (size_t h = 0; h < heads; ++h) {
      double total = 0;
      for (size_t i = 0; i < static_cast<size_t>(tokens_); ++i) {
        total += sums[h * static_cast<size_t>(tap.sum_stride) + i];
      }
      EXPECT_NEAR(total, 12, 1e-3);
    }
  });
  options.reused = 35;
  auto run = PrefillRun::Create(*model_.weights, *model_.stream, model_.tokens, options).value();
  const LayerTap target = run->PrefixTarget(0);
  const std::vector<uint8_t> zeros(static_cast<size_t>(tokens_ * model_.weights->config().head_dim * 4 * 8));
  WriteHeads(model_, zeros, tokens_, target, target.k);
  WriteHeads(model_, zeros, tokens_, target, target.v);
  EXPECT_EQ(run->ComputeLayer(0)->first_query, 35) << "reused tokens asked nothing";
}

TEST_P(PrefillRunTest, SamplesTheFirstTokenFromTheLastRow) {
  const std::vector<float> logits = RunPrefill(model_, PrefillOptions());
  const auto vocabulary = static_cast<std::ptrdiff_t>(model_.weights->config().vocabulary);
  const auto last = logits.end() - vocabulary;
  auto run = PrefillRun::Create(*model_.weights, *model_.stream, model_.tokens, PrefillOptions()).value();
  EXPECT_EQ(run->SampleFirst(Sampling(), 40).status().code(), absl::StatusCode::kFailedPrecondition);
  for (int32_t layer = 0; layer < model_.weights->config().layers; ++layer) ASSERT_TRUE(run->ComputeLayer(layer).ok());
  EXPECT_EQ(run->SampleFirst(Sampling(), tokens_).value(),
            static_cast<int32_t>(std::max_element(last, logits.end()) - last));
  const Sampling warm{2.0f, 0, 1.0f, 5};
  EXPECT_EQ(run->SampleFirst(warm, tokens_).value(), run->SampleFirst(warm, tokens_).value());
}

INSTANTIATE_TEST_SUITE_P(Models, PrefillRunTest,
                         testing::Combine(testing::Values("llama", "mistral", "qwen3"),
                                          testing::Values(RunType::kF32, RunType::kBf16)),
                         [](const auto& test) {
                           return std::get<0>(test.param) +
                                  (std::get<1>(test.param) == RunType::kBf16 ? "_bf16" : "_f32");
                         });

class PrefillRefusalTest : public testing::Test {
 protected:
  absl::Status Create(const std::vector<int32_t>& tokens, const PrefillOptions& options = PrefillOptions()) {
    return PrefillRun::Create(*model_.weights, *model_.stream, tokens, options).status();
  }
  const std::unique_ptr<Device> device_ = CreateTestDevice(1);
  const GoldenModel model_ = LoadGolden(*device_, "llama", RunType::kF32);
};

TEST_F(PrefillRefusalTest, RefusesPromptsThatItCannotCompute) {
  EXPECT_EQ(Create({}).code(), absl::StatusCode::kInvalidArgument);
  const int32_t vocabulary = model_.weights->config().vocabulary;
  EXPECT_THAT(std::string(Create({1, vocabulary}).message()), HasSubstr("token 1 of the prompt is 128"));
  EXPECT_EQ(Create({-1}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(Create({vocabulary - 1}).ok());
  const auto limit = static_cast<size_t>(model_.weights->config().max_positions);
  EXPECT_TRUE(Create(std::vector<int32_t>(limit, 1)).ok());
  EXPECT_EQ(Create(std::vector<int32_t>(limit + 1, 1)).code(), absl::StatusCode::kInvalidArgument);
  PrefillOptions options;
  for (const int32_t reused : {-1, 2, 3}) {
    options.reused = reused;
    EXPECT_EQ(Create({1, 2}, options).code(), absl::StatusCode::kInvalidArgument) << reused;
  }
}

TEST_F(PrefillRefusalTest, KeepsTheOrderOfLayersAndGivesMemoryBack) {
  const int64_t before = device_->allocated_bytes();
  {
    auto run = PrefillRun::Create(*model_.weights, *model_.stream, model_.tokens, PrefillOptions()).value();
    EXPECT_EQ(run->PrefixTarget(0).k, nullptr);
    EXPECT_EQ(run->ComputeLayer(1).status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_TRUE(run->ComputeLayer(0).ok());
    EXPECT_EQ(run->ComputeLayer(0).status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_TRUE(run->ComputeLayer(1).ok());
    EXPECT_EQ(run->ComputeLayer(2).status().code(), absl::StatusCode::kFailedPrecondition);
    std::vector<float> few(3);
    EXPECT_EQ(run->CopyLogits(absl::MakeSpan(few)).code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(device_->allocated_bytes(), before);
}

TEST_F(PrefillRefusalTest, SaysSoWhenTheDeviceIsFull) {
  // Room for the weights and little more.
  const auto small = CreateTestDevice(1, model_.weights->bytes() + (256 << 10));
  const GoldenModel model = LoadGolden(*small, "llama", RunType::kF32);
  const auto run = PrefillRun::Create(
      *model.weights, *model.stream,
      std::vector<int32_t>(static_cast<size_t>(model.weights->config().max_positions), 1), PrefillOptions());
  EXPECT_EQ(run.status().code(), absl::StatusCode::kResourceExhausted) << run.status();
}

}  // namespace
}  // namespace decant
