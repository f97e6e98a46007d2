#include "services/lab/lab_engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "common/model/log_probabilities.h"
#include "gpu/engine/prefill_run.h"
#include "services/lab/lab_plan.h"
#include "tests/support/paths/paths.h"

namespace decant {
namespace {

const LoadedModel& Tiny() {
  static const auto model = LoadedModel::Load(SourceDir() + "/deploy/models/decant-tiny", "f32", 2).value();
  return *model;
}

LabPoint PointOf(const std::string& profile) {
  LabPoint point;
  point.profile = profile;
  const Profile found = Catalogue::BuiltIn().value().FindFor(profile, Tiny().folder.fingerprint).value();
  point.recipe = Compile(found, Tiny().weights->config().geometry(), Tiny().weights->run_type()).value();
  return point;
}

std::vector<LabPoint> Points(const std::vector<std::string>& profiles) {
  std::vector<LabPoint> points;
  for (const std::string& profile : profiles) points.push_back(PointOf(profile));
  return points;
}

std::vector<LabJob> Jobs(const LabTask& task, LabMode mode, size_t questions, int32_t length = 200) {
  LabUnit unit;
  unit.mode = mode;
  unit.length = length;
  unit.questions = questions;
  return UnitJobs(*Tiny().folder.tokenizer, 4096, task, unit).value();
}

// -log p and hits of the answer by one prefill over everything: what full precision must give in decode.
AnswerScore ByPrefill(const std::vector<int32_t>& prompt, const FedText& fed) {
  std::vector<int32_t> all = prompt;
  all.insert(all.end(), fed.feed.begin(), fed.feed.end());
  const auto stream = Tiny().device->NewStream();
  const auto run = PrefillRun::Create(*Tiny().weights, *stream, all, PrefillOptions()).value();
  for (int32_t layer = 0; layer < Tiny().weights->config().layers; ++layer) EXPECT_TRUE(run->ComputeLayer(layer).ok());
  const auto vocabulary = static_cast<size_t>(Tiny().weights->config().vocabulary);
  std::vector<float> logits(all.size() * vocabulary);
  EXPECT_TRUE(run->CopyLogits(absl::MakeSpan(logits)).ok());
  AnswerScore score;
  for (size_t i = 0; i < fed.answer.size(); ++i) {
    const size_t row = all.size() - fed.answer.size() + i;
    const auto mine = absl::MakeSpan(logits).subspan(row * vocabulary, vocabulary);
    LogSoftmax(mine);
    AddToken(fed.answer[i], mine, mine, score);
  }
  return score;
}

TEST(LabEngineTest, FullPrecisionScoresAsOnePrefillWouldInBothModes) {
  const auto engine = LabEngine::Create(Tiny(), Points({"full", "k8v4"})).value();
  for (const LabMode mode : {LabMode::kQueryAgnostic, LabMode::kQueryAware}) {
    const std::vector<LabJob> jobs = Jobs(TinyTasks()[0], mode, 3);
    const std::vector<PointResult> results = engine->Measure(jobs).value();
    ASSERT_EQ(results.size(), 2u);
    ASSERT_EQ(results[0].scores.size(), 3u);
    size_t text = 0;
    for (const LabJob& job : jobs) {
      for (const FedText& fed : job.texts) {
        const AnswerScore expected = ByPrefill(job.prompt, fed);
        ASSERT_EQ(results[0].scores[text].size(), 1u);
        const AnswerScore& score = results[0].scores[text][0];
        EXPECT_EQ(score.tokens, expected.tokens);
        EXPECT_EQ(score.right, expected.right);
        EXPECT_NEAR(score.surprise, expected.surprise, 1e-3);
        EXPECT_EQ(score.divergence, 0);
        ++text;
      }
    }
  }
}

TEST(LabEngineTest, FewerBytesAreFartherFromFull) {
  const auto engine = LabEngine::Create(Tiny(), Points({"full", "k8v4", "k4v2"})).value();
  const std::vector<LabJob> jobs = Jobs(TinyTasks()[0], LabMode::kQueryAgnostic, 4);
  const std::vector<PointResult> results = engine->Measure(jobs).value();
  double divergence[3] = {};
  for (size_t point = 0; point < 3; ++point) {
    for (const auto& spans : results[point].scores) divergence[point] += spans[0].divergence;
    EXPECT_EQ(results[point].prompt_tokens, static_cast<int64_t>(jobs[0].prompt.size()));
  }
  EXPECT_EQ(divergence[0], 0);
  EXPECT_GT(divergence[1], 0);
  EXPECT_GT(divergence[2], divergence[1]);
  EXPECT_GT(results[0].resident_bytes, results[1].resident_bytes);
  EXPECT_GT(results[1].resident_bytes, results[2].resident_bytes);
  EXPECT_GT(results[1].frame_bytes, results[2].frame_bytes);
}

TEST(LabEngineTest, ManyTextsRunInWavesAndScoreAsAlone) {
  const auto engine = LabEngine::Create(Tiny(), Points({"full", "k4v2"})).value();
  std::vector<LabJob> many = Jobs(TinyTasks()[0], LabMode::kQueryAgnostic, 2, 80);
  const std::vector<PointResult> alone = engine->Measure(many).value();
  // More copies than the batch has places for.
  const FedText first = many[0].texts[0], second = many[0].texts[1];
  many[0].texts.clear();
  for (int i = 0; i < 70; ++i) {
    many[0].texts.push_back(first);
    many[0].texts.push_back(second);
  }
  const std::vector<PointResult> waves = engine->Measure(many).value();
  for (size_t point = 0; point < 2; ++point) {
    ASSERT_EQ(waves[point].scores.size(), 140u);
    for (size_t text = 0; text < 140; ++text) {
      const AnswerScore& expected = alone[point].scores[text % 2][0];
      const AnswerScore& score = waves[point].scores[text][0];
      EXPECT_EQ(score.right, expected.right);
      EXPECT_NEAR(score.surprise, expected.surprise, 1e-3);
      EXPECT_NEAR(score.divergence, expected.divergence, 1e-3);
    }
  }
}

TEST(LabEngineTest, LongOutputIsScoredInSpansAndShowsWhatTheOnlinePolicyMoves) {
  const auto engine = LabEngine::Create(Tiny(), Points({"full", "k8v4", "diffkv"})).value();
  const std::vector<PointResult> results =
      engine->Measure(Jobs(TinyLongTask(), LabMode::kQueryAgnostic, 1, 128)).value();
  for (const PointResult& result : results) {
    ASSERT_EQ(result.scores.size(), 1u);
    ASSERT_EQ(result.scores[0].size(), static_cast<size_t>(kLongTokens / kLongSpan));
    for (const AnswerScore& span : result.scores[0]) EXPECT_EQ(span.tokens, kLongSpan);
  }
  EXPECT_EQ(results[0].online_events, 0);
  EXPECT_EQ(results[1].online_events, 0);
  EXPECT_GT(results[2].online_events, 0);
}

// What a prompt of 64 tokens takes says little about a window of 400: of a text all tokens are counted.
TEST(LabEngineTest, BytesOfATextAreThoseOfPromptAndFedTokensAtTheEnd) {
  LabTask task;
  task.continues = true;
  task.texts.resize(1);
  for (int32_t i = 0; i < 400; ++i) task.texts[0].ids.push_back(40 + i % 50);
  LabUnit unit;
  unit.length = 64;
  std::vector<LabJob> jobs = UnitJobs(*Tiny().folder.tokenizer, 4096, task, unit).value();
  const auto engine = LabEngine::Create(Tiny(), Points({"full", "k4v2"})).value();
  const std::vector<PointResult> whole = engine->Measure(jobs).value();
  jobs[0].bytes_at_end = false;
  const std::vector<PointResult> prompt = engine->Measure(jobs).value();
  for (size_t point = 0; point < 2; ++point) {
    EXPECT_EQ(prompt[point].resident_tokens, 64);
    EXPECT_EQ(prompt[point].prompt_tokens, 64);
    EXPECT_EQ(whole[point].prompt_tokens, 64);
    EXPECT_EQ(whole[point].resident_tokens, 399) << "the last token is only predicted";
  }
  EXPECT_GT(whole[0].resident_bytes, 4 * prompt[0].resident_bytes);
  EXPECT_GE(whole[1].resident_bytes, prompt[1].resident_bytes) << "a page may hold both";
  const int64_t full_bytes = 399 * Tiny().weights->config().geometry().full_bytes_per_token() * 2;  // f32
  EXPECT_GE(whole[0].resident_bytes, full_bytes);
  EXPECT_LT(whole[0].resident_bytes, full_bytes * 6 / 5);
}

TEST(LabEngineTest, TheFirstPointMustBeFullPrecision) {
  EXPECT_THAT(LabEngine::Create(Tiny(), Points({"k8v4"})).status().ToString(), testing::HasSubstr("full precision"));
}

}  // namespace
}  // namespace decant
