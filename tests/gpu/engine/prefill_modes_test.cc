// What a run gives beyond the plain prefill: kept layers, signals, the replay pass, tokens that are left behind.
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>

#include "gpu/kernels/nn/packed_layout.h"
#include "tests/gpu/engine/golden_models.h"
#include "tests/gpu/engine/scalar_model.h"
#include "tests/support/device_array.h"
#include "tests/support/test_device.h"

namespace decant {
namespace {

using testing::HasSubstr;

constexpr auto kFailed = absl::StatusCode::kFailedPrecondition;
constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

class PrefillModesTest : public testing::TestWithParam<std::tuple<std::string, RunType>> {
 protected:
  RunType type() const { return std::get<1>(GetParam()); }
  float tolerance() const { return type() == RunType::kF32 ? 2e-4f : 0.05f; }
  int32_t layers() const { return config_.layers; }

  std::unique_ptr<PrefillRun> NewRun(const std::vector<int32_t>& tokens, const PrefillOptions& options) {
    auto run = PrefillRun::Create(*model_.weights, *model_.stream, tokens, options);
    EXPECT_TRUE(run.ok()) << run.status();
    return *std::move(run);
  }
  // The golden ids over and over, in another order.
  std::vector<int32_t> Prompt(int32_t count) const {
    std::vector<int32_t> tokens;
    for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
      tokens.push_back(model_.tokens[i * (i + 3) % model_.tokens.size()]);
    }
    return tokens;
  }
  template <typename T>
  std::vector<T> Read(const T* from, int64_t count) {
    std::vector<T> values(static_cast<size_t>(count));
    model_.stream->Copy(values.data(), from, count * static_cast<int64_t>(sizeof(T)));
    return values;
  }
  // [tokens, kv_heads, head_dim] of a tap's keys or values.
  std::vector<float> ReadRows(const LayerTap& tap, const void* from) {
    const std::vector<float> heads =
        FromRunType(type(), Read(static_cast<const uint8_t*>(from),
                                 config_.kv_heads * tap.capacity * config_.head_dim * RunTypeBytes(type())));
    std::vector<float> rows;
    for (int32_t t = 0; t < tap.tokens; ++t) {
      for (int32_t h = 0; h < config_.kv_heads; ++h) {
        const auto at = heads.begin() + (h * tap.capacity + t) * config_.head_dim;
        rows.insert(rows.end(), at, at + config_.head_dim);
      }
    }
    return rows;
  }
  std::vector<float> Logits(PrefillRun& run) {
    std::vector<float> logits(static_cast<size_t>(run.rows()) * static_cast<size_t>(config_.vocabulary));
    EXPECT_TRUE(run.CopyLogits(absl::MakeSpan(logits)).ok());
    return logits;
  }
  static std::vector<float> Floats(const Doubles& values) { return {values.begin(), values.end()}; }

  const std::unique_ptr<Device> device_ = CreateTestDevice(2);
  const GoldenModel model_ = LoadGolden(*device_, std::get<0>(GetParam()), std::get<1>(GetParam()), 512);
  const ModelConfig& config_ = model_.weights->config();
  const ScalarModel scalar_{model_.folder};
};

TEST_P(PrefillModesTest, TheScalarModelIsTheReference) {
  EXPECT_LE(RelativeDifference(Floats(scalar_.Forward(model_.tokens).logits), model_.logits), 1e-4f);
}

TEST_P(PrefillModesTest, KeptLayersStayAsTheyWere) {
  std::vector<std::vector<float>> wanted;
  PrefillOptions options;
  options.score = ScoreSource::kAllLaterQueries;
  options.tile = 16;
  const auto keep = [&](const LayerTap& tap) {
    wanted.push_back(ReadRows(tap, tap.k));
    wanted.push_back(ReadRows(tap, tap.v));
    wanted.push_back(Read(tap.sums, config_.q_heads * tap.sum_stride));
  };
  const std::vector<float> logits = RunPrefill(model_, options, [&](PrefillRun&, int32_t, const LayerTap& tap) {
    if (tap.k != nullptr) keep(tap);
  });
  const std::vector<std::vector<float>> one_by_one = std::move(wanted);
  for (const int32_t kept : {2, kAllLayers}) {
    wanted.clear();
    options.keep_layers = kept;
    const auto run = NewRun(model_.tokens, options);
    for (int32_t layer = 0; layer < layers(); ++layer) ASSERT_TRUE(run->ComputeLayer(layer).ok());
    EXPECT_EQ(Logits(*run), logits);
    for (int32_t layer = 0; layer < layers(); ++layer) keep(run->Tap(layer).value());
    EXPECT_EQ(wanted, one_by_one);
    EXPECT_EQ(run->Tap(-1).status().code(), kFailed);
    EXPECT_EQ(run->Tap(layers()).status().code(), kFailed);
  }
}

TEST_P(PrefillModesTest, OnlyWhatIsAskedForTakesMemory) {
  const auto bytes = [&](const PrefillOptions& options) {
    const int64_t before = device_->allocated_bytes();
    const auto run = NewRun(model_.tokens, options);
    return device_->allocated_bytes() - before;
  };
  const int64_t tokens = static_cast<int64_t>(model_.tokens.size());
  const int64_t plain = bytes(PrefillOptions());
  const int64_t keys = tokens * config_.kv_heads * config_.head_dim * RunTypeBytes(type());
  PrefillOptions options;
  options.keep_layers = 2;
  EXPECT_NEAR(static_cast<double>(bytes(options) - plain), static_cast<double>(2 * keys), 128);
  options = PrefillOptions();
  options.pre_rope_keys = true;
  EXPECT_NEAR(static_cast<double>(bytes(options) - plain), static_cast<double>(keys), 64);
  const auto run = NewRun(model_.tokens, PrefillOptions());
  const LayerTap tap = run->ComputeLayer(0).value();
  EXPECT_EQ(tap.pre_rope_k, nullptr);
  EXPECT_EQ(tap.sums, nullptr);
  EXPECT_EQ(tap.query_peaks, nullptr);
  EXPECT_EQ(tap.key_peaks, nullptr);
  EXPECT_EQ(tap.positions, nullptr);
  EXPECT_EQ(tap.replay_scores, nullptr);
  ASSERT_TRUE(run->ComputeLayer(1).ok());
  EXPECT_EQ(run->Tap(0).status().code(), kFailed) << "its place is the next layer's";
}

TEST_P(PrefillModesTest, SignalsAreThoseOfTheScalarModel) {
  const ScalarRun wanted = scalar_.Forward(model_.tokens);
  const size_t d = static_cast<size_t>(config_.head_dim);
  const size_t kv_heads = static_cast<size_t>(config_.kv_heads);
  const size_t group = static_cast<size_t>(config_.q_heads) / kv_heads;
  for (const int32_t tile : {7, 256}) {
    PrefillOptions options;
    options.tile = tile;
    options.pre_rope_keys = true;
    options.channel_peaks = true;
    const auto run = NewRun(model_.tokens, options);
    for (int32_t layer = 0; layer < layers(); ++layer) {
      const LayerTap tap = run->ComputeLayer(layer).value();
      const ScalarLayer& truth = wanted.layers[static_cast<size_t>(layer)];
      EXPECT_LE(RelativeDifference(ReadRows(tap, tap.k), Floats(truth.k)), tolerance());
      EXPECT_LE(RelativeDifference(ReadRows(tap, tap.v), Floats(truth.v)), tolerance());
      EXPECT_LE(RelativeDifference(ReadRows(tap, tap.pre_rope_k), Floats(truth.pre_rope_k)), tolerance());
      std::vector<float> q_peaks(kv_heads * d);
      std::vector<float> k_peaks(kv_heads * d);
      for (size_t i = 0; i < truth.q.size(); ++i) {
        float& peak = q_peaks[i / d % (kv_heads * group) / group * d + i % d];
        peak = std::max(peak, static_cast<float>(std::abs(truth.q[i])));
      }
      for (size_t i = 0; i < truth.k.size(); ++i) {
        float& peak = k_peaks[i % (kv_heads * d)];
        peak = std::max(peak, static_cast<float>(std::abs(truth.k[i])));
      }
      const auto count = static_cast<int64_t>(kv_heads * d);
      EXPECT_LE(RelativeDifference(Read(tap.query_peaks, count), q_peaks), tolerance());
      EXPECT_LE(RelativeDifference(Read(tap.key_peaks, count), k_peaks), tolerance());
    }
  }
}

TEST_P(PrefillModesTest, OnePassSumsForManyScorers) {
  const std::vector<ScoreRequest> requests = {{ScoreSource::kAllLaterQueries, 64}, {ScoreSource::kLastWindow, 1},
                                              {ScoreSource::kLastWindow, 12},      {ScoreSource::kLastWindow, 39},
                                              {ScoreSource::kLastWindow, 40},      {ScoreSource::kLastWindow, 41}};
  PrefillOptions all;
  all.tile = 16;
  all.score = ScoreSource::kLastWindow;
  all.window = 8;
  all.more_scores = requests;
  all.keep_layers = kAllLayers;
  const auto run = NewRun(model_.tokens, all);
  for (int32_t layer = 0; layer < layers(); ++layer) ASSERT_TRUE(run->ComputeLayer(layer).ok());
  const auto compare = [&](const ScoreRequest& request, const std::function<LayerTap(LayerTap)>& view) {
    PrefillOptions one;
    one.tile = 16;
    one.score = request.source;
    one.window = request.window;
    RunPrefill(model_, one, [&](PrefillRun&, int32_t layer, const LayerTap& tap) {
      if (tap.k == nullptr) return;
      const LayerTap found = view(run->Tap(layer).value());
      EXPECT_EQ(found.first_query, tap.first_query) << request.window;
      EXPECT_EQ(Read(found.sums, config_.q_heads * tap.sum_stride), Read(tap.sums, config_.q_heads * tap.sum_stride))
          << request.window;
    });
  };
  compare({ScoreSource::kLastWindow, 8}, [](LayerTap tap) { return tap; });
  for (size_t i = 0; i < requests.size(); ++i) {
    compare(requests[i], [i](const LayerTap& tap) { return tap.WithSums(i); });
  }
  all.score = ScoreSource::kNone;
  const auto without = NewRun(model_.tokens, all);
  const LayerTap tap = without->ComputeLayer(0).value();
  EXPECT_EQ(tap.sums, nullptr);
  ASSERT_EQ(tap.more_sums.size(), requests.size());
  EXPECT_EQ(tap.more_sums[2].first_query, 28);
}

// [layers, kv_heads, tokens]: section by section what KVzip's score.py computes.
std::vector<float> ReferenceReplay(const ScalarModel& scalar, const ModelConfig& config,
                                   const std::vector<int32_t>& prompt, const std::vector<ReplayChunk>& chunks,
                                   int32_t sinks) {
  const ScalarRun past = scalar.Forward(prompt);
  const auto tokens = static_cast<int32_t>(prompt.size());
  std::vector<float> scores(static_cast<size_t>(config.layers * config.kv_heads * tokens));
  for (const ReplayChunk& chunk : chunks) {
    const ScalarRun repeat = scalar.Forward(chunk.tokens, &past);
    for (int32_t layer = 0; layer < config.layers; ++layer) {
      const ScalarLayer& cache = past.layers[static_cast<size_t>(layer)];
      const ScalarLayer& now = repeat.layers[static_cast<size_t>(layer)];
      for (int32_t row = 0; row < static_cast<int32_t>(chunk.tokens.size()); ++row) {
        for (int32_t head = 0; head < config.q_heads; ++head) {
          const double* const q = now.q.data() + (row * config.q_heads + head) * config.head_dim;
          double total = 0;
          Doubles powers(static_cast<size_t>(tokens));
          for (int32_t key = 0; key < tokens; ++key) {
            if (key >= sinks && (key < chunk.begin || key >= chunk.end)) continue;
            total += powers[static_cast<size_t>(key)] = std::exp(scalar.Dot(q, cache, key, head));
          }
          for (int32_t key = 0; key <= row; ++key) total += std::exp(scalar.Dot(q, now, key, head));
          const int32_t kv_head = head / (config.q_heads / config.kv_heads);
          float* const out = scores.data() + (layer * config.kv_heads + kv_head) * tokens;
          for (int32_t key = chunk.begin; key < chunk.end; ++key) {
            out[key] = std::max(out[key], static_cast<float>(powers[static_cast<size_t>(key)] / total));
          }
        }
      }
    }
  }
  return scores;
}

TEST_P(PrefillModesTest, ReplayScoresAreTheLargestAttentionWhileRepeating) {
  struct Variant {
    int32_t tokens, sinks, end, chunk_tokens, tile;
  };
  for (const Variant& v : {Variant{30, 0, 30, 100, 256}, Variant{30, 4, 30, 26, 9}, Variant{30, 4, 28, 12, 256},
                           Variant{31, 2, 31, 13, 5}, Variant{1, 0, 1, 1, 256}, Variant{20, 0, 20, 1, 256},
                           Variant{21, 4, 21, 16, 17}, Variant{64, 4, 64, 60, 33}, Variant{131, 4, 130, 65, 64}}) {
    SCOPED_TRACE(testing::Message() << v.tokens << " tokens, " << v.sinks << " sinks, chunks of " << v.chunk_tokens);
    const std::vector<int32_t> prompt = Prompt(v.tokens);
    RepeatWording wording{{5, 6, 7}, {8, 9}, {10}, v.chunk_tokens, 3};
    const std::vector<ReplayChunk> chunks = RepeatPrompts(prompt, v.sinks, v.end, wording);
    const std::vector<float> wanted = ReferenceReplay(scalar_, config_, prompt, chunks, v.sinks);
    PrefillOptions options;
    options.tile = v.tile;
    options.keep_layers = kAllLayers;
    const auto run = NewRun(prompt, options);
    std::vector<std::vector<float>> cache;
    for (int32_t layer = 0; layer < layers(); ++layer) {
      const LayerTap tap = run->ComputeLayer(layer).value();
      EXPECT_EQ(tap.replay_scores, nullptr);
      cache.push_back(ReadRows(tap, tap.k));
      cache.push_back(ReadRows(tap, tap.v));
    }
    const std::vector<float> logits = Logits(*run);
    const int64_t before = device_->allocated_bytes();
    ASSERT_TRUE(run->BeginReplay(chunks, v.sinks).ok());
    for (int32_t layer = 0; layer < layers(); ++layer) ASSERT_TRUE(run->ReplayLayer(layer).ok());
    const auto count = static_cast<int64_t>(wanted.size());
    EXPECT_LE(device_->allocated_bytes() - before, count * 4 + 64) << "only the scores stay";
    const std::vector<float> found = Read(run->replay_scores(), count);
    for (size_t i = 0; i < wanted.size(); ++i) ASSERT_NEAR(found[i], wanted[i], tolerance()) << i;

    std::vector<std::vector<float>> after;
    for (int32_t layer = 0; layer < layers(); ++layer) {
      const LayerTap tap = run->Tap(layer).value();
      const int64_t width = int64_t{config_.kv_heads} * v.tokens;
      EXPECT_EQ(tap.replay_scores, run->replay_scores() + layer * width);
      after.push_back(ReadRows(tap, tap.k));
      after.push_back(ReadRows(tap, tap.v));
    }
    EXPECT_EQ(after, cache);
    EXPECT_EQ(Logits(*run), logits);

    // Layer by layer beside the prompt, with one layer at a time, and then once more.
    options.keep_layers = 1;
    const auto beside = NewRun(prompt, options);
    ASSERT_TRUE(beside->BeginReplay(chunks, v.sinks).ok());
    for (int32_t layer = 0; layer < layers(); ++layer) {
      ASSERT_TRUE(beside->ComputeLayer(layer).ok());
      ASSERT_TRUE(beside->ReplayLayer(layer).ok());
    }
    EXPECT_EQ(Read(beside->replay_scores(), count), found);
    const ReplayChunk& last = chunks.back();
    ASSERT_TRUE(run->BeginReplay({last}, v.sinks).ok());
    for (int32_t layer = 0; layer < layers(); ++layer) ASSERT_TRUE(run->ReplayLayer(layer).ok());
    const std::vector<float> again = Read(run->replay_scores(), count);
    for (size_t i = 0; i < again.size(); ++i) {
      const auto position = static_cast<int32_t>(i) % v.tokens;
      const bool inside = position >= last.begin && position < last.end;
      ASSERT_EQ(again[i], inside ? found[i] : 0) << "a second replay begins at zero";
    }
  }
}

TEST_P(PrefillModesTest, RowsLeftBehindAreSeenByNoLaterLayer) {
  const std::vector<int32_t> rows = {0, 3, 4, 5, 11, 20, 21, 30, 38, 39};
  const ScalarRun wanted = scalar_.Forward(model_.tokens, nullptr, [&](int32_t layer, const ScalarLayer&) {
    return layer == 0 ? rows : std::vector<int32_t>();
  });
  for (const int32_t tile : {1, 4, 256}) {
    PrefillOptions options;
    options.tile = tile;
    options.keep_layers = kAllLayers;
    options.score = ScoreSource::kLastWindow;
    options.window = 4;
    options.pre_rope_keys = true;
    const auto run = NewRun(model_.tokens, options);
    EXPECT_EQ(run->KeepRows(rows).code(), kFailed) << "no layer is computed";
    ASSERT_TRUE(run->ComputeLayer(0).ok());
    ASSERT_TRUE(run->KeepRows(rows).ok());
    EXPECT_EQ(run->rows(), 10);
    ASSERT_TRUE(run->ComputeLayer(1).ok());
    EXPECT_LE(RelativeDifference(Logits(*run), Floats(wanted.logits)), tolerance());
    const LayerTap first = run->Tap(0).value();
    EXPECT_EQ(first.tokens, 40);
    EXPECT_EQ(first.positions, nullptr);
    EXPECT_EQ(first.first_query, 36);
    const LayerTap tap = run->Tap(1).value();
    EXPECT_EQ(tap.tokens, 10);
    EXPECT_EQ(tap.first_query, 6);
    EXPECT_EQ(Read(tap.positions, 10), rows);
    const ScalarLayer& truth = wanted.layers[1];
    EXPECT_LE(RelativeDifference(ReadRows(tap, tap.k), Floats(truth.k)), tolerance());
    EXPECT_LE(RelativeDifference(ReadRows(tap, tap.v), Floats(truth.v)), tolerance());
    EXPECT_LE(RelativeDifference(ReadRows(tap, tap.pre_rope_k), Floats(truth.pre_rope_k)), tolerance());
    for (int32_t head = 0; head < config_.q_heads; ++head) {
      Doubles sums(10);
      for (int32_t row = 6; row < 10; ++row) {
        const Doubles attention = scalar_.Attention(truth, row, head);
        for (size_t key = 0; key < attention.size(); ++key) sums[key] += attention[key];
      }
      EXPECT_LE(RelativeDifference(Read(tap.sums + head * tap.sum_stride, 10), Floats(sums)), tolerance());
    }
    EXPECT_EQ(run->SampleFirst(Sampling(), 40).value(),
              static_cast<int32_t>(std::max_element(wanted.logits.end() - config_.vocabulary, wanted.logits.end()) -
                                   (wanted.logits.end() - config_.vocabulary)));
    EXPECT_EQ(run->KeepRows(std::vector<int32_t>{9}).code(), kFailed) << "no layer follows";
    EXPECT_EQ(run->BeginReplay({{{1}, 0, 1}}, 0).code(), kFailed);
  }
}

TEST_P(PrefillModesTest, SelectsByPooledWindowAttention) {
  const ScalarRun plain = scalar_.Forward(model_.tokens);
  for (const int32_t window : {1, 3, 39, 40, 50}) {
    for (const int32_t kept : {0, 1, 2, 3, 4, 20, 39, 40, 41}) {
      for (const bool average : {false, true}) {
        const int32_t inside = std::min(window, 40);
        const int32_t past = 40 - inside;
        std::vector<std::pair<double, int32_t>> order(static_cast<size_t>(past));
        for (int32_t t = 0; t < past; ++t) order[static_cast<size_t>(t)] = {0, t};
        for (int32_t head = 0; head < config_.q_heads; ++head) {
          Doubles sums(40);
          for (int32_t row = 40 - inside; row < 40; ++row) {
            const Doubles attention = scalar_.Attention(plain.layers[0], row, head);
            for (size_t key = 0; key < attention.size(); ++key) sums[key] += attention[key];
          }
          for (int32_t t = 0; t < past; ++t) {
            double best = 0;
            double total = 0;
            for (int32_t n = std::max(0, t - 2); n <= std::min(past - 1, t + 2); ++n) {
              best = std::max(best, sums[static_cast<size_t>(n)]);
              total += sums[static_cast<size_t>(n)];
            }
            order[static_cast<size_t>(t)].first -= average ? total / 5 : best;
          }
        }
        std::sort(order.begin(), order.end());
        std::vector<int32_t> wanted;
        for (int32_t i = 0; i < std::min(past, kept - inside); ++i) {
          wanted.push_back(order[static_cast<size_t>(i)].second);
        }
        std::sort(wanted.begin(), wanted.end());
        for (int32_t t = past; t < 40; ++t) wanted.push_back(t);

        PrefillOptions options;
        options.more_scores = {{ScoreSource::kAllLaterQueries, 64}, {ScoreSource::kLastWindow, window}};
        const auto run = NewRun(model_.tokens, options);
        ASSERT_TRUE(run->ComputeLayer(0).ok());
        ASSERT_TRUE(run->SelectRows(TokenSelection{kept, window, 5, average}).ok());
        const LayerTap tap = run->ComputeLayer(1).value();
        ASSERT_EQ(tap.tokens, static_cast<int32_t>(wanted.size())) << kept << " with window " << window;
        if (tap.tokens == 40) {
          EXPECT_EQ(tap.positions, nullptr);
          continue;
        }
        // A maximum pooled over neighbours ties them, and bf16 rounds: what counts is the attention that was kept.
        const std::vector<int32_t> found = Read(tap.positions, tap.tokens);
        double found_score = 0;
        double wanted_score = 0;
        for (const auto& [score, token] : order) {
          if (std::binary_search(found.begin(), found.end(), token)) found_score -= score;
          if (std::binary_search(wanted.begin(), wanted.end(), token)) wanted_score -= score;
        }
        EXPECT_NEAR(found_score, wanted_score, type() == RunType::kF32 ? 1e-4 : 0.02 * wanted_score)
            << kept << " with window " << window;
        EXPECT_TRUE(std::is_sorted(found.begin(), found.end()));
        EXPECT_TRUE(std::equal(found.end() - inside, found.end(), wanted.end() - inside));
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, PrefillModesTest,
                         testing::Combine(testing::Values("llama", "mistral", "qwen2", "qwen3"),
                                          testing::Values(RunType::kF32, RunType::kBf16)),
                         [](const auto& test) {
                           return std::get<0>(test.param) +
                                  (std::get<1>(test.param) == RunType::kBf16 ? "_bf16" : "_f32");
                         });

class PrefillModesRefusalTest : public testing::Test {
 protected:
  std::unique_ptr<PrefillRun> NewRun(const PrefillOptions& options) {
    return PrefillRun::Create(*model_.weights, *model_.stream, model_.tokens, options).value();
  }
  const std::unique_ptr<Device> device_ = CreateTestDevice(1);
  const GoldenModel model_ = LoadGolden(*device_, "llama", RunType::kF32);
};

TEST_F(PrefillModesRefusalTest, RefusesOptionsThatCannotBe) {
  const auto create = [&](const PrefillOptions& options) {
    return PrefillRun::Create(*model_.weights, *model_.stream, model_.tokens, options).status().code();
  };
  PrefillOptions options;
  options.keep_layers = 0;
  EXPECT_EQ(create(options), kInvalid);
  options = PrefillOptions();
  options.more_scores.assign(8, ScoreRequest());
  EXPECT_EQ(create(options), kInvalid);
  options.more_scores.assign(7, ScoreRequest());
  EXPECT_EQ(create(options), absl::StatusCode::kOk);
  options.more_scores = {{ScoreSource::kNone, 64}};
  EXPECT_EQ(create(options), kInvalid);
  options.more_scores = {{ScoreSource::kLastWindow, 0}};
  EXPECT_EQ(create(options), kInvalid);
}

TEST_F(PrefillModesRefusalTest, RefusesSelectionsThatCannotBe) {
  PrefillOptions options;
  options.score = ScoreSource::kLastWindow;
  options.window = 8;
  auto run = NewRun(options);
  EXPECT_EQ(run->SelectRows({20, 8, 7, false}).code(), kFailed) << "before the first layer";
  ASSERT_TRUE(run->ComputeLayer(0).ok());
  EXPECT_EQ(run->SelectRows({20, 8, 4, false}).code(), kInvalid) << "even pooling";
  EXPECT_EQ(run->SelectRows({20, 0, 7, false}).code(), kInvalid);
  EXPECT_EQ(run->SelectRows({-1, 8, 7, false}).code(), kInvalid);
  EXPECT_THAT(std::string(run->SelectRows({20, 9, 7, false}).message()), HasSubstr("last 9 queries"));
  for (const std::vector<int32_t>& rows :
       {std::vector<int32_t>{}, {0, 1}, {1, 0, 39}, {5, 5, 39}, {-1, 39}, {39, 40}}) {
    EXPECT_EQ(run->KeepRows(rows).code(), kInvalid);
  }
  EXPECT_EQ(run->rows(), 40);
  ASSERT_TRUE(run->BeginReplay({{{1}, 0, 1}}, 0).ok());
  EXPECT_EQ(run->SelectRows({20, 8, 7, false}).code(), kFailed) << "a replay has begun";
  options.reused = 3;
  run = NewRun(options);
  ASSERT_TRUE(run->ComputeLayer(0).ok());
  EXPECT_EQ(run->SelectRows({20, 8, 7, false}).code(), kInvalid) << "reused tokens have no hidden states";
}

TEST_F(PrefillModesRefusalTest, RefusesReplaysThatCannotBe) {
  const auto run = NewRun(PrefillOptions());
  const auto begin = [&](const std::vector<ReplayChunk>& chunks, int32_t sinks) {
    return run->BeginReplay(chunks, sinks).code();
  };
  EXPECT_EQ(run->ReplayLayer(0).code(), kFailed) << "none has begun";
  EXPECT_EQ(run->replay_scores(), nullptr);
  EXPECT_EQ(begin({}, 0), kInvalid);
  EXPECT_EQ(begin({{{}, 0, 1}}, 0), kInvalid);
  EXPECT_EQ(begin({{{1}, 1, 1}}, 0), kInvalid);
  EXPECT_EQ(begin({{{1}, -1, 1}}, -1), kInvalid);
  EXPECT_EQ(begin({{{1}, 0, 41}}, 0), kInvalid);
  EXPECT_EQ(begin({{{1}, 3, 9}}, 4), kInvalid);
  EXPECT_EQ(begin({{{128}, 0, 1}}, 0), kInvalid);
  EXPECT_EQ(begin({{{-1}, 0, 1}}, 0), kInvalid);
  EXPECT_EQ(begin({{std::vector<int32_t>(25, 1), 0, 1}}, 0), kInvalid) << "64 positions";
  EXPECT_EQ(begin({{std::vector<int32_t>(24, 1), 0, 40}}, 0), absl::StatusCode::kOk);
  EXPECT_EQ(run->ReplayLayer(0).code(), kFailed) << "not computed yet";
  ASSERT_TRUE(run->ComputeLayer(0).ok());
  EXPECT_EQ(run->ReplayLayer(1).code(), kFailed);
  EXPECT_EQ(run->Tap(0)->replay_scores, nullptr);
  EXPECT_TRUE(run->ReplayLayer(0).ok());
  EXPECT_EQ(run->Tap(0)->replay_scores, run->replay_scores());
  EXPECT_EQ(run->ReplayLayer(0).code(), kFailed);
}

TEST(RepeatPromptsTest, QuoteTheEndOfThePreviousChunk) {
  std::vector<int32_t> prompt(10);
  for (int32_t i = 0; i < 10; ++i) prompt[static_cast<size_t>(i)] = 100 + i;
  const RepeatWording wording{{1, 2}, {3}, {4}, 3, 2};
  const std::vector<ReplayChunk> chunks = RepeatPrompts(prompt, 2, 9, wording);
  ASSERT_EQ(chunks.size(), 3u);
  EXPECT_EQ(chunks[0].tokens, (std::vector<int32_t>{1, 2, 4, 102, 103, 104}));
  EXPECT_EQ(chunks[1].tokens, (std::vector<int32_t>{3, 103, 104, 4, 105, 106, 107}));
  EXPECT_EQ(chunks[2].tokens, (std::vector<int32_t>{3, 106, 107, 4, 108}));
  EXPECT_EQ(chunks[2].begin, 8);
  EXPECT_EQ(chunks[2].end, 9);
  EXPECT_TRUE(RepeatPrompts(prompt, 4, 4, wording).empty());
  // Chunks shorter than the quote: it does not reach before the context.
  const RepeatWording tiny{{}, {}, {}, 1, 8};
  EXPECT_EQ(RepeatPrompts(prompt, 2, 4, tiny)[1].tokens, (std::vector<int32_t>{102, 103}));
}

}  // namespace
}  // namespace decant
