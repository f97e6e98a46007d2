#include "gpu/engine/decode_batch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <map>

#include "tests/gpu/engine/decode_rig.h"
#include "tests/support/test_device.h"

namespace decant {
namespace {

constexpr char kTiny[] = "deploy/models/decant-tiny";
constexpr char kNormed[] = "tests/golden/models/qwen3";  // key norm, head_dim 48

std::unique_ptr<DecodeRig> OnTestDevice(const std::string& folder = kTiny, int64_t budget = int64_t{24} << 20) {
  return std::make_unique<DecodeRig>(CreateTestDevice(2), folder, budget);
}

// Decodes greedily and compares every step with one prefill over prompt and answer.
void ExpectEqualsPrefill(DecodeRig& rig, int32_t prompt_tokens, int32_t max_tokens, double tolerance) {
  const std::vector<int32_t> prompt = rig.Prompt(prompt_tokens);
  const Recipe recipe = rig.RecipeOf("full");
  const Poured poured = rig.Prefill(prompt, recipe);
  const SequenceId id = rig.batch().Reserve(rig.Options(prompt, recipe, max_tokens)).value();
  for (const EncodedLayer& layer : poured.layers) ASSERT_TRUE(rig.batch().Import(id, layer.batch).ok());
  ASSERT_TRUE(rig.batch().Join(id, poured.first_token).ok());
  const DecodeRig::Answer answer = rig.Finish(id, poured.first_token);
  ASSERT_EQ(answer.tokens.size(), static_cast<size_t>(max_tokens));

  std::vector<int32_t> whole = prompt;
  whole.insert(whole.end(), answer.tokens.begin(), answer.tokens.end() - 1);
  const std::vector<float> expected = rig.PrefillLogits(whole);
  const auto vocabulary = static_cast<std::ptrdiff_t>(rig.config().vocabulary);
  for (int32_t step = 0; step + 1 < max_tokens; ++step) {
    const auto first = expected.begin() + (prompt_tokens + step) * vocabulary;
    const std::vector<float> row(first, first + vocabulary);
    const std::vector<float>& logits = answer.logits[static_cast<size_t>(step)];
    EXPECT_LT(LargestDifference(logits, row), tolerance * LargestMagnitude(row)) << "step " << step;
    EXPECT_EQ(answer.tokens[static_cast<size_t>(step) + 1], ArgMax(row)) << "step " << step;
  }
  rig.batch().Remove(id);
}

TEST(DecodeBatchTest, FullPagesGiveTheLogitsOfOneLongPrefill) {
  ExpectEqualsPrefill(*OnTestDevice(), 150, 14, 1e-4);
  DecodeRig on_host(CreateHostDevice(2), kTiny);
  ExpectEqualsPrefill(on_host, 150, 14, 1e-4);
}

TEST(DecodeBatchTest, FullPagesGiveTheLogitsOfOneLongPrefillWithKeyNorm) {
  ExpectEqualsPrefill(*OnTestDevice(kNormed), 30, 20, 1e-4);
}

TEST(DecodeBatchTest, FullPagesWorkFromOneTokenOn) { ExpectEqualsPrefill(*OnTestDevice(kNormed), 1, 6, 1e-4); }

// How far a profile's logits are from full precision's, relative to the largest logit, over steps that feed the same
// tokens: greedy paths may part.
double FirstStepDifference(DecodeRig& rig, const std::string& profile, int32_t prompt_tokens) {
  const std::vector<int32_t> prompt = rig.Prompt(prompt_tokens);
  std::vector<float> logits[2];
  int i = 0;
  for (const std::string& name : {std::string("full"), profile}) {
    const SequenceId id = rig.Start(prompt, name, 8);
    EXPECT_TRUE(rig.batch().Step().ok());
    logits[i++] = rig.StepLogits();
    rig.batch().Remove(id);
  }
  return LargestDifference(logits[0], logits[1]) / LargestMagnitude(logits[0]);
}

TEST(DecodeBatchTest, CompressedPagesGiveCloseLogits) {
  const auto rig = OnTestDevice();
  const double k8v4 = FirstStepDifference(*rig, "k8v4", 200);
  const double k4v2 = FirstStepDifference(*rig, "k4v2", 200);
  EXPECT_LT(k8v4, 0.08);
  EXPECT_LT(k4v2, 0.6);
  EXPECT_LT(k8v4, k4v2);
  EXPECT_GT(k8v4, 1e-6) << "these pages are not compressed";
  EXPECT_LT(FirstStepDifference(*rig, "diffkv", 200), 0.6);
  EXPECT_LT(FirstStepDifference(*rig, "diffkv-release", 200), 0.6);
}

TEST(DecodeBatchTest, FlippingOneStoredCodeChangesTheLogits) {
  const auto rig = OnTestDevice();
  const std::vector<int32_t> prompt = rig->Prompt(100);
  for (const char* profile : {"k8v4", "k4v2", "diffkv", "full"}) {
    std::vector<float> logits[2];
    for (const bool flip : {false, true}) {
      const SequenceId id = rig->Start(prompt, profile, 8);
      if (flip) {
        const RowsCopy copy = rig->batch().CopyRows(id).value();
        // The top bit of the newest value in the last layer's first head, which the next token attends to.
        const size_t head = copy.heads.size() - static_cast<size_t>(rig->config().kv_heads);
        const PageLayout& layout = copy.arena.layouts[static_cast<int>(copy.rows.formats[kHigh])];
        const int32_t token = copy.heads[head].tokens[kHigh] - 1;
        const int32_t place = RowPlace(copy.heads[head], copy.rows.capacity, kHigh, token / layout.tokens);
        const int32_t page = copy.page_ids[head * static_cast<size_t>(copy.rows.capacity) + static_cast<size_t>(place)];
        const int64_t vector = VectorBytes(FormatOf(copy.rows.formats[kHigh]).v, rig->config().head_dim);
        auto* at = static_cast<uint8_t*>(rig->batch().pages().address) + page * copy.arena.page_bytes + layout.values +
                   (token % layout.tokens) * vector + 3;
        uint8_t byte = 0;
        rig->stream().Copy(&byte, at, 1);
        byte ^= 0x40;
        rig->stream().Copy(at, &byte, 1);
      }
      ASSERT_TRUE(rig->batch().Step().ok());
      logits[flip ? 1 : 0] = rig->StepLogits();
      rig->batch().Remove(id);
    }
    EXPECT_GT(LargestDifference(logits[0], logits[1]), 0) << profile;
  }
}

TEST(DecodeBatchTest, SequencesOfMixedProfilesGiveTogetherWhatTheyGiveAlone) {
  const std::vector<std::string> profiles = {"full", "k8v4", "diffkv", "k4v2", "diffkv-release"};
  const auto rig = OnTestDevice();
  std::vector<DecodeRig::Answer> alone;
  std::vector<int32_t> firsts;
  for (size_t i = 0; i < profiles.size(); ++i) {
    const auto prompt = rig->Prompt(70 + 31 * static_cast<int32_t>(i), i + 1);
    firsts.push_back(rig->Prefill(prompt, rig->RecipeOf(profiles[i])).first_token);
    const SequenceId id = rig->Start(prompt, profiles[i], 10);
    alone.push_back(rig->Finish(id, firsts.back()));
    rig->batch().Remove(id);
  }
  std::vector<SequenceId> ids;
  for (size_t i = 0; i < profiles.size(); ++i) {
    ids.push_back(rig->Start(rig->Prompt(70 + 31 * static_cast<int32_t>(i), i + 1), profiles[i], 10));
  }
  const auto vocabulary = static_cast<std::ptrdiff_t>(rig->config().vocabulary);
  for (size_t step = 0; step < 9; ++step) {
    const auto tokens = rig->batch().Step().value();
    ASSERT_EQ(tokens.size(), profiles.size());
    const std::vector<float> logits = rig->StepLogits();
    for (size_t i = 0; i < profiles.size(); ++i) {
      EXPECT_EQ(tokens[i].sequence, ids[i]);
      EXPECT_EQ(tokens[i].token, alone[i].tokens[step + 1]) << profiles[i] << " step " << step;
      const auto first = logits.begin() + static_cast<std::ptrdiff_t>(i) * vocabulary;
      const std::vector<float> row(first, first + vocabulary);
      EXPECT_LT(LargestDifference(row, alone[i].logits[step]), 1e-3 * LargestMagnitude(row)) << profiles[i];
    }
  }
}

TEST(DecodeBatchTest, SequencesJoinAndLeaveBetweenSteps) {
  const auto rig = OnTestDevice();
  const int64_t all = rig->batch().unreserved_pages();
  const std::vector<int32_t> prompts[] = {rig->Prompt(40, 1), rig->Prompt(90, 2), rig->Prompt(65, 3)};
  std::vector<std::vector<int32_t>> alone;
  for (const auto& prompt : prompts) {
    const int32_t first = rig->Prefill(prompt, rig->RecipeOf("k8v4")).first_token;
    const SequenceId id = rig->Start(prompt, "k8v4", 9);
    alone.push_back(rig->Finish(id, first).tokens);
    rig->batch().Remove(id);
  }
  std::map<SequenceId, std::vector<int32_t>> answers;
  const auto step = [&] {
    const absl::Span<const StepToken> tokens = rig->batch().Step().value();
    for (const StepToken& token : tokens) answers[token.sequence].push_back(token.token);
  };
  const SequenceId a = rig->Start(prompts[0], "k8v4", 9);
  step();
  step();
  const SequenceId b = rig->Start(prompts[1], "k8v4", 9);
  step();
  rig->batch().Remove(a);
  const SequenceId c = rig->Start(prompts[2], "k8v4", 9);
  while (rig->batch().running() > 0) step();
  EXPECT_THAT(answers[a], testing::ElementsAreArray(alone[0].begin() + 1, alone[0].begin() + 4));
  EXPECT_THAT(answers[b], testing::ElementsAreArray(alone[1].begin() + 1, alone[1].end()));
  EXPECT_THAT(answers[c], testing::ElementsAreArray(alone[2].begin() + 1, alone[2].end()));
  EXPECT_TRUE(rig->batch().Step().value().empty());
  rig->batch().Remove(b);
  rig->batch().Remove(c);
  EXPECT_EQ(rig->batch().unreserved_pages(), all);
}

TEST(DecodeBatchTest, SamplingIsAFunctionOfSeedAndPosition) {
  const auto rig = OnTestDevice();
  Sampling sampling;
  sampling.temperature = 1.5f;
  sampling.seed = 11;
  const std::vector<int32_t> prompt = rig->Prompt(60);
  const int32_t first = rig->Prefill(prompt, rig->RecipeOf("full")).first_token;
  std::vector<std::vector<int32_t>> answers;
  for (const uint64_t seed : {11, 11, 12}) {
    sampling.seed = seed;
    const SequenceId id = rig->Start(prompt, "full", 12, sampling);
    answers.push_back(rig->Finish(id, first).tokens);
    rig->batch().Remove(id);
  }
  EXPECT_EQ(answers[0], answers[1]);
  EXPECT_NE(answers[0], answers[2]);
}

TEST(DecodeBatchTest, ForcedTokensAreFedInPlaceOfDrawnOnes) {
  const auto rig = OnTestDevice();
  const std::vector<int32_t> prompt = rig->Prompt(60);
  const std::vector<int32_t> text = rig->Prompt(9, /*seed=*/7);  // the first, then 8 forced
  const Recipe recipe = rig->RecipeOf("full");
  SequenceOptions options = rig->Options(prompt, recipe, 12);
  options.forced.assign(text.begin() + 1, text.end());
  options.end_tokens = {text[3]};  // a forced token never ends the answer
  const SequenceId id = rig->batch().Reserve(options).value();
  for (const EncodedLayer& layer : rig->Prefill(prompt, recipe).layers) {
    ASSERT_TRUE(rig->batch().Import(id, layer.batch).ok());
  }
  ASSERT_TRUE(rig->batch().Join(id, text[0]).ok());
  const DecodeRig::Answer answer = rig->Finish(id, text[0]);
  ASSERT_GE(answer.tokens.size(), 10u);
  EXPECT_THAT(std::vector<int32_t>(answer.tokens.begin(), answer.tokens.begin() + 9), testing::ElementsAreArray(text));

  std::vector<int32_t> whole = prompt;
  whole.insert(whole.end(), text.begin(), text.end());
  const std::vector<float> expected = rig->PrefillLogits(whole);
  const auto vocabulary = static_cast<std::ptrdiff_t>(rig->config().vocabulary);
  for (size_t step = 0; step < text.size(); ++step) {
    const auto first = expected.begin() + static_cast<std::ptrdiff_t>(prompt.size() + step) * vocabulary;
    const std::vector<float> row(first, first + vocabulary);
    EXPECT_LT(LargestDifference(answer.logits[step], row), 1e-4 * LargestMagnitude(row)) << "step " << step;
  }
  EXPECT_EQ(answer.tokens[9], ArgMax(answer.logits[8])) << "after the forced tokens it draws";
}

TEST(DecodeBatchTest, RefusesForcedTokensThatCannotBe) {
  const auto rig = OnTestDevice();
  SequenceOptions options = rig->Options(rig->Prompt(5), rig->RecipeOf("full"), 3);
  options.forced = {1, 2, 3};
  EXPECT_THAT(rig->batch().Reserve(options).status().ToString(), testing::HasSubstr("at most 2"));
  options.forced = {1, rig->config().vocabulary};
  EXPECT_THAT(rig->batch().Reserve(options).status().ToString(), testing::HasSubstr("of a vocabulary of"));
  options.forced = {1, 2};
  EXPECT_TRUE(rig->batch().Reserve(options).ok());
}

TEST(DecodeBatchTest, EndTokensStopAndLengthFinishes) {
  const auto rig = OnTestDevice();
  const std::vector<int32_t> prompt = rig->Prompt(60);
  const Recipe recipe = rig->RecipeOf("full");
  const Poured poured = rig->Prefill(prompt, recipe);
  const SequenceId free_run = rig->Start(prompt, "full", 6);
  const std::vector<int32_t> tokens = rig->Finish(free_run, poured.first_token).tokens;
  rig->batch().Remove(free_run);

  SequenceOptions options = rig->Options(prompt, recipe, 6);
  options.end_tokens = {tokens[3]};
  const SequenceId id = rig->batch().Reserve(options).value();
  for (const EncodedLayer& layer : poured.layers) ASSERT_TRUE(rig->batch().Import(id, layer.batch).ok());
  ASSERT_TRUE(rig->batch().Join(id, poured.first_token).ok());
  std::vector<StepToken> steps;
  while (rig->batch().running() > 0) steps.push_back(rig->batch().Step().value()[0]);
  // The end token may come earlier than at index 3 when the answer repeats it.
  EXPECT_EQ(steps.back().token, tokens[3]);
  EXPECT_TRUE(steps.back().stopped);
  EXPECT_TRUE(steps.back().finished);
  EXPECT_LE(steps.size(), 3u);
}

TEST(DecodeBatchTest, AFirstTokenThatEndsTheAnswerNeverSteps) {
  const auto rig = OnTestDevice();
  rig->Start(rig->Prompt(30), "full", 1);
  EXPECT_EQ(rig->batch().running(), 0);
  EXPECT_TRUE(rig->batch().Step().value().empty());
}

}  // namespace
}  // namespace decant
