// Key forms and the policies that hold heads to a limit, from prefill through frames to a long answer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "common/compress/allocate/token_limits.h"
#include "common/kv/batch.h"
#include "tests/gpu/engine/decode_rig.h"
#include "tests/support/test_device.h"

namespace decant {
namespace {

using ::testing::HasSubstr;

constexpr char kTiny[] = "deploy/models/decant-tiny";

class OnlinePoliciesTest : public ::testing::Test {
 protected:
  int64_t heads() const { return int64_t{rig_.config().layers} * rig_.config().kv_heads; }

  // The logits of every step of an answer of `tokens` tokens.
  DecodeRig::Answer Answer(const std::vector<int32_t>& prompt, const Recipe& recipe, int32_t tokens) {
    const Poured poured = rig_.Prefill(prompt, recipe);
    const SequenceId id = rig_.Start(prompt, recipe, poured, tokens);
    DecodeRig::Answer answer = rig_.Finish(id, poured.first_token);
    rig_.batch().Remove(id);
    return answer;
  }

  // How far the logits of two answers are apart while their tokens agree, relative to their size.
  static double Distance(const DecodeRig::Answer& a, const DecodeRig::Answer& b) {
    double largest = 0;
    for (size_t step = 0; step < a.logits.size() && step < b.logits.size(); ++step) {
      if (a.tokens[step] != b.tokens[step]) break;
      largest = std::max(largest, LargestDifference(a.logits[step], b.logits[step]) / LargestMagnitude(b.logits[step]));
    }
    return largest;
  }

  Recipe Full(const KeyForm& form, FormatId format = FormatId::kFullF32) const {
    Recipe recipe = rig_.RecipeOf("full");
    recipe.key_form = form;
    recipe.high = format;
    return recipe;
  }

  // Imports every layer; the first error.
  absl::Status ImportAll(SequenceId id, const Poured& poured) {
    for (const EncodedLayer& layer : poured.layers) {
      const absl::Status status = rig_.batch().Import(id, layer.batch);
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  DecodeRig rig_{CreateTestDevice(2, int64_t{512} << 20), kTiny};
};

// In full precision no form changes what the model says.
TEST_F(OnlinePoliciesTest, FormsOfFullKeysChangeNothing) {
  const std::vector<int32_t> prompt = rig_.Prompt(150);
  const DecodeRig::Answer plain = Answer(prompt, Full(KeyForm()), 12);
  for (const KeyForm& form :
       {KeyForm{1, 6, 0}, KeyForm{1, 4, 0}, KeyForm{1, 0, 1}, KeyForm{1, 5, 1}, KeyForm{0, 0, 0}}) {
    const DecodeRig::Answer formed = Answer(prompt, Full(form), 12);
    EXPECT_EQ(formed.tokens, plain.tokens);
    EXPECT_LT(Distance(formed, plain), 2e-4)
        << int{form.rope} << ' ' << int{form.hadamard} << ' ' << int{form.balanced};
  }
}

// Sequences in every form run in one batch.
TEST_F(OnlinePoliciesTest, FormsStandBesideEachOtherInABatch) {
  const std::vector<int32_t> prompt = rig_.Prompt(70);
  const KeyForm forms[] = {{0, 0, 0}, {1, 6, 0}, {1, 0, 1}};
  std::vector<DecodeRig::Answer> alone;
  for (const KeyForm& form : forms) alone.push_back(Answer(prompt, Full(form), 8));
  std::vector<SequenceId> ids;
  int32_t first = 0;
  for (const KeyForm& form : forms) {
    const Recipe recipe = Full(form);
    const Poured poured = rig_.Prefill(prompt, recipe);
    first = poured.first_token;
    ids.push_back(rig_.Start(prompt, recipe, poured, 8));
  }
  std::vector<std::vector<int32_t>> tokens(ids.size(), {first});
  while (rig_.batch().running() > 0) {
    const absl::Span<const StepToken> step = rig_.batch().Step().value();
    for (const StepToken& token : step) {
      const auto at = std::find(ids.begin(), ids.end(), token.sequence) - ids.begin();
      tokens[static_cast<size_t>(at)].push_back(token.token);
    }
  }
  for (size_t i = 0; i < ids.size(); ++i) EXPECT_EQ(tokens[i], alone[i].tokens);
}

TEST_F(OnlinePoliciesTest, FourBitKeysInEveryForm) {
  const std::vector<int32_t> prompt = rig_.Tokens(
      "The old lamp stood in the kitchen. The code of Bruno is 90571. Nobody in the garden had seen the red chair. "
      "Question: what is the code of Bruno? Answer:");
  const DecodeRig::Answer full = Answer(prompt, rig_.RecipeOf("full"), 6);
  for (const char* const profile : {"int4", "saw-int4", "atom-kv4"}) {
    const Recipe recipe = rig_.RecipeOf(profile);
    const Poured poured = rig_.Prefill(prompt, recipe);
    const auto parts =
        SplitBatch({reinterpret_cast<const char*>(poured.layers[0].batch.data()), poured.layers[0].batch.size()})
            .value();
    EXPECT_EQ(parts[0].frame.header.key_form, recipe.key_form) << profile;
    EXPECT_EQ(parts[0].frame.header.provenance, Provenance::kQuantised);
    const DecodeRig::Answer answer = Answer(prompt, recipe, 6);
    EXPECT_EQ(rig_.Text(answer.tokens), rig_.Text(full.tokens)) << profile;
    EXPECT_GT(Distance(answer, full), 1e-4) << profile;
    EXPECT_LT(Distance(answer, full), 0.3) << profile;
  }
}

TEST_F(OnlinePoliciesTest, FramesInAnotherFormAreRefused) {
  const std::vector<int32_t> prompt = rig_.Prompt(40);
  const Poured poured = rig_.Prefill(prompt, rig_.RecipeOf("saw-int4"));
  for (const char* const profile : {"int4", "atom-kv4"}) {
    const SequenceId id = rig_.batch().Reserve(rig_.Options(prompt, rig_.RecipeOf(profile), 4)).value();
    const absl::Status status = ImportAll(id, poured);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()), HasSubstr("after rope, Hadamard 64"));
    rig_.batch().Remove(id);
  }
}

TEST_F(OnlinePoliciesTest, RecipesThatNoKernelReadsAreRefused) {
  const std::vector<int32_t> prompt = rig_.Prompt(8);
  Recipe recipe = rig_.RecipeOf("int4");
  for (const KeyForm& form : {KeyForm{1, 7, 0}, KeyForm{0, 4, 0}, KeyForm{0, 0, 1}}) {
    recipe.key_form = form;
    const auto id = rig_.batch().Reserve(rig_.Options(prompt, recipe, 4));
    EXPECT_EQ(id.status().code(), absl::StatusCode::kInvalidArgument);
  }
}

// Frames of one layer whose keys were balanced by different factors cannot stand in one row.
TEST_F(OnlinePoliciesTest, BalanceBelongsToALayer) {
  const std::vector<int32_t> prompt = rig_.Prompt(100);  // two chunks
  const Recipe recipe = Full(KeyForm{1, 0, 1});
  Poured poured = rig_.Prefill(prompt, recipe);
  const Poured other = rig_.Prefill(rig_.Prompt(100, 2), recipe);
  EncodedLayer& mixed = poured.layers[0];
  const auto second = static_cast<std::ptrdiff_t>(mixed.chunks[1].frame_offset);
  std::copy(other.layers[0].batch.begin() + second, other.layers[0].batch.end(), mixed.batch.begin() + second);
  const SequenceId id = rig_.batch().Reserve(rig_.Options(prompt, recipe, 4)).value();
  const absl::Status status = ImportAll(id, poured);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("other factors"));
}

// A long answer under each policy: events take place, the rows hold what the limits say, promises are kept.
TEST_F(OnlinePoliciesTest, LimitsHoldOverALongAnswer) {
  constexpr int32_t kTokens = 140;
  for (const char* const profile : {"h2o", "streamingllm", "prefixkv", "mikv"}) {
    for (const int32_t length : {1, 2, 33, 90, 200}) {
      const Recipe recipe = rig_.RecipeOf(profile);
      const std::vector<int32_t> prompt = rig_.Prompt(length);
      const TokenLimits limits = TokenLimitsOf(recipe, rig_.config().layers, length);
      const Poured poured = rig_.Prefill(prompt, recipe);
      const SequenceId id = rig_.Start(prompt, recipe, poured, kTokens);
      const int64_t promised = rig_.batch().total_pages() - rig_.batch().unreserved_pages();
      rig_.Finish(id, poured.first_token);
      const SequenceUse use = rig_.batch().Use(id).value();
      EXPECT_LE(use.pages, promised) << profile << " of " << length;
      const int64_t seen = heads() * (length + kTokens - 1);
      EXPECT_EQ(use.tokens.high + use.tokens.low + use.tokens.pruned + use.tokens.dropped, seen)
          << profile << " of " << length;
      const RowsCopy rows = rig_.batch().CopyRows(id).value();
      for (size_t i = 0; i < rows.heads.size(); ++i) {
        const auto layer = static_cast<int32_t>(i / static_cast<size_t>(rig_.config().kv_heads));
        EXPECT_LE(rows.heads[i].tokens[kHigh], limits.Most(layer, length + kTokens - 1)) << profile << " of " << length;
        if (limits.drops) continue;
        EXPECT_LE(rows.heads[i].tokens[kHigh], limits.limits[static_cast<size_t>(layer)]);
      }
      const bool demotes = recipe.online == OnlinePolicy::kDemoteOldest;
      EXPECT_EQ(use.tokens.demoted > 0, demotes) << profile << " of " << length;
      const bool drops = recipe.online != OnlinePolicy::kKeepShare || length >= 33;
      EXPECT_EQ(use.tokens.dropped > 0, !demotes && drops) << profile << " of " << length;
      rig_.batch().Remove(id);
      EXPECT_EQ(rig_.batch().unreserved_pages(), rig_.batch().total_pages());
    }
  }
}

// A reservation of a policy that drops tokens is worth what it holds, not what it sees.
TEST_F(OnlinePoliciesTest, ReservationsFollowTheLimit) {
  const std::vector<int32_t> prompt = rig_.Prompt(1000);
  Recipe recipe = rig_.RecipeOf("streamingllm");
  const int64_t limited = rig_.batch().WorstCasePages(rig_.Options(prompt, recipe, 500));
  recipe.online = OnlinePolicy::kNone;
  EXPECT_LT(limited * 4, rig_.batch().WorstCasePages(rig_.Options(prompt, recipe, 500)));
}

TEST_F(OnlinePoliciesTest, HeadsBeyondTheirLimitAreRefused) {
  const std::vector<int32_t> prompt = rig_.Prompt(100);
  Recipe generous = rig_.RecipeOf("h2o");
  generous.budget = 0.9f;
  const Poured poured = rig_.Prefill(prompt, generous);
  const SequenceId id = rig_.batch().Reserve(rig_.Options(prompt, rig_.RecipeOf("h2o"), 4)).value();
  const absl::Status status = ImportAll(id, poured);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("its policy keeps"));
}

// With room for everything the policies are no more than their formats: the answer is that of full.
TEST_F(OnlinePoliciesTest, WithRoomForAllNothingChanges) {
  const std::vector<int32_t> prompt = rig_.Prompt(60);
  const DecodeRig::Answer full = Answer(prompt, rig_.RecipeOf("full"), 10);
  for (const char* const profile : {"h2o", "streamingllm", "prefixkv", "mikv"}) {
    Recipe recipe = rig_.RecipeOf(profile);
    recipe.budget = 1;
    recipe.window = 80;
    const DecodeRig::Answer answer = Answer(prompt, recipe, 10);
    EXPECT_EQ(answer.tokens, full.tokens) << profile;
    EXPECT_LT(Distance(answer, full), 2e-4) << profile;
  }
}

// MiKV keeps what eviction loses: at one share of full tokens its logits are the nearer ones.
TEST_F(OnlinePoliciesTest, DemotedTokensStillCount) {
  const std::vector<int32_t> prompt = rig_.Prompt(200);
  const DecodeRig::Answer full = Answer(prompt, rig_.RecipeOf("full"), 2);
  const Recipe h2o = rig_.RecipeOf("h2o");
  Recipe mikv = rig_.RecipeOf("mikv");
  mikv.low = FormatId::kGroupK4V4;
  mikv.budget = h2o.budget;
  const double demoted = Distance(Answer(prompt, mikv, 2), full);
  EXPECT_GT(demoted, 0);
  EXPECT_LT(demoted, Distance(Answer(prompt, h2o, 2), full) / 2);
}

// Keys before rope of a prefix that came after rope are those that computing it would have shown.
TEST_F(OnlinePoliciesTest, AReusedPrefixHasKeysBeforeRope) {
  constexpr int32_t kReused = 37;
  const std::vector<int32_t> prompt = rig_.Prompt(50);
  PrefillOptions options;
  options.pre_rope_keys = true;
  const auto whole = PrefillRun::Create(rig_.weights(), rig_.stream(), prompt, options).value();
  options.reused = kReused;
  const auto behind = PrefillRun::Create(rig_.weights(), rig_.stream(), prompt, options).value();
  const ModelConfig& config = rig_.config();
  const size_t floats = prompt.size() * static_cast<size_t>(config.kv_heads * config.head_dim);
  std::vector<float> expected(floats);
  std::vector<float> actual(floats);
  for (int32_t layer = 0; layer < config.layers; ++layer) {
    const LayerTap known = whole->ComputeLayer(layer).value();
    const LayerTap target = behind->PrefixTarget(layer);
    const int64_t row = int64_t{4} * config.head_dim;
    for (int32_t head = 0; head < config.kv_heads; ++head) {
      const int64_t at = head * known.capacity * row;
      rig_.stream().Copy(static_cast<uint8_t*>(target.k) + at, static_cast<uint8_t*>(known.k) + at, kReused * row);
      rig_.stream().Copy(static_cast<uint8_t*>(target.v) + at, static_cast<uint8_t*>(known.v) + at, kReused * row);
    }
    const LayerTap tap = behind->ComputeLayer(layer).value();
    rig_.stream().Copy(expected.data(), known.pre_rope_k, static_cast<int64_t>(floats * 4));
    rig_.stream().Copy(actual.data(), tap.pre_rope_k, static_cast<int64_t>(floats * 4));
    ASSERT_TRUE(rig_.stream().Synchronize().ok());
    EXPECT_LT(LargestDifference(actual, expected), 1e-4 * LargestMagnitude(expected)) << "layer " << layer;
  }
}

}  // namespace
}  // namespace decant
