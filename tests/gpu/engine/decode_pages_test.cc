// Reservations, imports and the life of pages in a decode batch.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <map>

#include "gpu/kernels/nn/product_host.h"
#include "tests/gpu/engine/allocation_counter.h"
#include "tests/gpu/engine/decode_rig.h"
#include "tests/gpu/kernels/pages/policy_oracle.h"
#include "tests/support/test_device.h"

namespace decant {
namespace {

constexpr char kTiny[] = "deploy/models/decant-tiny";

std::unique_ptr<DecodeRig> OnTestDevice(int64_t budget = int64_t{24} << 20, int32_t max_sequences = 8) {
  return std::make_unique<DecodeRig>(CreateTestDevice(2), kTiny, budget, max_sequences);
}

void ExpectStepsAllocateNothing(RunType run_type, const std::vector<std::string>& profiles) {
  for (const bool test_device : {false, true}) {
    DecodeRig rig(test_device ? CreateTestDevice(2) : CreateHostDevice(2), kTiny, int64_t{24} << 20, 8, run_type);
    for (size_t i = 0; i < profiles.size(); ++i) {
      rig.Start(rig.Prompt(100 - 20 * static_cast<int32_t>(i), i + 1), profiles[i], 30);
    }
    // The first step prepares the matrix products for this number of rows.
    ASSERT_TRUE(rig.batch().Step().ok());
    const int64_t device_bytes = rig.device().allocated_bytes();
    const int64_t before = AllocationsSoFar();
    for (int step = 0; step < 10; ++step) ASSERT_TRUE(rig.batch().Step().ok());
    EXPECT_EQ(AllocationsSoFar() - before, 0) << rig.device().name();
    EXPECT_EQ(rig.device().allocated_bytes(), device_bytes);
  }
}

TEST(DecodePagesTest, AStepAllocatesNothing) { ExpectStepsAllocateNothing(RunType::kF32, {"diffkv"}); }

// Where oneDNN multiplies two rows it allocates inside.
TEST(DecodePagesTest, AStepOfTwoSequencesAllocatesNothing) {
  if (ProductAllocates(RunType::kBf16, 2)) GTEST_SKIP() << "this processor's products of two rows are oneDNN's";
  ExpectStepsAllocateNothing(RunType::kBf16, {"diffkv", "full"});
}

TEST(DecodePagesTest, PromisesShrinkToTruePagesAsLayersCommit) {
  const auto rig = OnTestDevice();
  const std::vector<int32_t> prompt = rig->Prompt(300);
  const Recipe recipe = rig->RecipeOf("diffkv");
  const SequenceOptions options = rig->Options(prompt, recipe, 20);
  const Poured poured = rig->Prefill(prompt, recipe);
  const int64_t all = rig->batch().unreserved_pages();
  const int64_t worst = rig->batch().WorstCasePages(options);
  const SequenceId id = rig->batch().Reserve(options).value();
  EXPECT_EQ(rig->batch().unreserved_pages(), all - worst);
  int64_t last = rig->batch().unreserved_pages();
  for (const EncodedLayer& layer : poured.layers) {
    ASSERT_TRUE(rig->batch().Import(id, layer.batch).ok());
    EXPECT_GE(rig->batch().unreserved_pages(), last);
    last = rig->batch().unreserved_pages();
  }
  EXPECT_GT(last, all - worst) << "nothing was given back";
  ASSERT_TRUE(rig->batch().Join(id, poured.first_token).ok());
  while (rig->batch().running() > 0) ASSERT_TRUE(rig->batch().Step().ok());
  const SequenceUse use = rig->batch().Use(id).value();
  EXPECT_LE(use.pages, all - last) << "more pages than promised";
  EXPECT_EQ(use.resident_bytes, use.pages * rig->batch().page_bytes());
  rig->batch().Remove(id);
  EXPECT_EQ(rig->batch().unreserved_pages(), all);
}

TEST(DecodePagesTest, ExhaustedPagesAreRefusedAndChangeNothing) {
  const auto rig = OnTestDevice(int64_t{3} << 20);
  const SequenceOptions options = rig->Options(rig->Prompt(200), rig->RecipeOf("full"), 30);
  std::vector<SequenceId> ids;
  while (rig->batch().unreserved_pages() >= rig->batch().WorstCasePages(options)) {
    ids.push_back(rig->batch().Reserve(options).value());
  }
  ASSERT_FALSE(ids.empty());
  const int64_t left = rig->batch().unreserved_pages();
  EXPECT_EQ(rig->batch().Reserve(options).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(rig->batch().unreserved_pages(), left);
  rig->batch().Remove(ids.back());
  EXPECT_TRUE(rig->batch().Reserve(options).ok());
}

TEST(DecodePagesTest, MoreThanEverFitsIsInvalid) {
  const auto rig = OnTestDevice(int64_t{1} << 20);
  EXPECT_EQ(rig->batch().Reserve(rig->Options(rig->Prompt(3000), rig->RecipeOf("full"), 100)).status().code(),
            absl::StatusCode::kInvalidArgument);
  const auto large = OnTestDevice(int64_t{64} << 20);
  EXPECT_EQ(large->batch().Reserve(large->Options(large->Prompt(4000), large->RecipeOf("k4v2"), 98)).status().code(),
            absl::StatusCode::kInvalidArgument)
      << "beyond the model's positions";
  EXPECT_TRUE(large->batch().Reserve(large->Options(large->Prompt(4000), large->RecipeOf("k4v2"), 97)).ok());
  EXPECT_EQ(large->batch().Reserve(large->Options(large->Prompt(5), large->RecipeOf("k4v2"), 0)).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(DecodePagesTest, PlacesForSequencesAreBounded) {
  const auto rig = OnTestDevice(int64_t{24} << 20, 2);
  const SequenceOptions options = rig->Options(rig->Prompt(10), rig->RecipeOf("full"), 4);
  const SequenceId first = rig->batch().Reserve(options).value();
  ASSERT_TRUE(rig->batch().Reserve(options).ok());
  EXPECT_EQ(rig->batch().Reserve(options).status().code(), absl::StatusCode::kResourceExhausted);
  rig->batch().Remove(first);
  EXPECT_TRUE(rig->batch().Reserve(options).ok());
}

// Every page can be handed out again: a sequence of nearly all pages fits after others came and went in any state.
TEST(DecodePagesTest, TheRingIsWholeAfterEverythingLeft) {
  const auto rig = OnTestDevice(int64_t{4} << 20);
  const std::vector<int32_t> prompt = rig->Prompt(130);
  for (int round = 0; round < 3; ++round) {
    const SequenceId running = rig->Start(prompt, "diffkv", 20);
    for (int step = 0; step < 5; ++step) ASSERT_TRUE(rig->batch().Step().ok());
    const Recipe recipe = rig->RecipeOf("k8v4");
    const Poured poured = rig->Prefill(prompt, recipe);
    const SequenceId half = rig->batch().Reserve(rig->Options(prompt, recipe, 20)).value();
    ASSERT_TRUE(rig->batch().Import(half, poured.layers[0].batch).ok());
    const SequenceId reserved = rig->batch().Reserve(rig->Options(prompt, recipe, 20)).value();
    rig->batch().Remove(running);
    rig->batch().Remove(half);
    rig->batch().Remove(reserved);
    rig->batch().Remove(reserved);  // twice is once
    EXPECT_EQ(rig->batch().unreserved_pages(), rig->batch().total_pages());
  }
  // As long a prompt as the budget holds takes nearly every page.
  const Recipe recipe = rig->RecipeOf("full");
  int32_t longest = 1;
  while (rig->batch().WorstCasePages(rig->Options(rig->Prompt(longest + 1), recipe, 1)) <= rig->batch().total_pages()) {
    ++longest;
  }
  const SequenceId id = rig->Start(rig->Prompt(longest), "full", 1);
  EXPECT_GE(rig->batch().Use(id).value().pages, rig->batch().total_pages() - 12);
}

TEST(DecodePagesTest, WrongFramesAreRefused) {
  const auto rig = OnTestDevice();
  const std::vector<int32_t> prompt = rig->Prompt(150);
  const Recipe recipe = rig->RecipeOf("k8v4");
  const Poured poured = rig->Prefill(prompt, recipe);
  const std::vector<uint8_t>& layer0 = poured.layers[0].batch;
  const EncodedChunk& second = poured.layers[0].chunks[1];
  const auto chunk_at = [&](const EncodedChunk& chunk) {
    return absl::MakeConstSpan(layer0).subspan(static_cast<size_t>(chunk.frame_offset),
                                               static_cast<size_t>(chunk.frame_bytes));
  };
  const auto code_after = [&](std::initializer_list<absl::Span<const uint8_t>> batches, const Recipe& reserved) {
    const SequenceId id = rig->batch().Reserve(rig->Options(prompt, reserved, 5)).value();
    absl::Status status;
    for (const auto& batch : batches) {
      if (status.ok()) status = rig->batch().Import(id, batch);
    }
    if (status.ok()) status = rig->batch().Join(id, poured.first_token);
    rig->batch().Remove(id);
    EXPECT_EQ(rig->batch().unreserved_pages(), rig->batch().total_pages());
    return status.code();
  };
  const auto failed = absl::StatusCode::kFailedPrecondition;
  EXPECT_EQ(code_after({layer0, layer0}, recipe), failed) << "duplicated layer";
  EXPECT_EQ(code_after({chunk_at(poured.layers[0].chunks[0]), chunk_at(poured.layers[0].chunks[0])}, recipe), failed);
  EXPECT_EQ(code_after({chunk_at(second)}, recipe), failed) << "out of order";
  EXPECT_EQ(code_after({layer0}, recipe), failed) << "missing layers at Join";
  EXPECT_EQ(code_after({layer0}, rig->RecipeOf("k4v2")), failed) << "another format";
  EXPECT_EQ(code_after({layer0}, rig->RecipeOf("diffkv")), failed) << "no scores for the online policy";
  std::vector<uint8_t> flipped = layer0;
  flipped[flipped.size() / 2] ^= 1;
  EXPECT_EQ(code_after({flipped}, recipe), absl::StatusCode::kDataLoss);
  EXPECT_EQ(code_after({absl::MakeConstSpan(layer0).first(layer0.size() - 16)}, recipe), absl::StatusCode::kDataLoss);
  EXPECT_EQ(rig->batch().Import(12345, layer0).code(), absl::StatusCode::kNotFound);

  DecodeOptions options;
  options.kv_budget_bytes = int64_t{4} << 20;
  options.model.bytes[0] = 1;
  const auto stranger = DecodeBatch::Create(rig->weights(), rig->stream(), options).value();
  const SequenceId id = stranger->Reserve(rig->Options(prompt, recipe, 5)).value();
  EXPECT_EQ(stranger->Import(id, layer0).code(), failed) << "another model";
}

TEST(DecodePagesTest, LayersMayComeInPieces) {
  const auto rig = OnTestDevice();
  const std::vector<int32_t> prompt = rig->Prompt(150);
  const Recipe recipe = rig->RecipeOf("diffkv");
  const Poured poured = rig->Prefill(prompt, recipe);
  const SequenceId whole = rig->Start(prompt, "diffkv", 6);
  const std::vector<int32_t> expected = rig->Finish(whole, poured.first_token).tokens;
  const SequenceId id = rig->batch().Reserve(rig->Options(prompt, recipe, 6)).value();
  for (const EncodedLayer& layer : poured.layers) {
    for (const EncodedChunk& chunk : layer.chunks) {
      const auto piece = absl::MakeConstSpan(layer.batch)
                             .subspan(static_cast<size_t>(chunk.frame_offset),
                                      static_cast<size_t>(chunk.frame_bytes + chunk.overlay_bytes));
      ASSERT_TRUE(rig->batch().Import(id, piece).ok());
    }
  }
  ASSERT_TRUE(rig->batch().Join(id, poured.first_token).ok());
  EXPECT_EQ(rig->Finish(id, poured.first_token).tokens, expected);
}

// What every head of a sequence holds: one oracle per head, with the scores and slots of the pages.
std::vector<PolicyOracle> ReadHeads(DecodeRig& rig, SequenceId id) {
  const RowsCopy copy = rig.batch().CopyRows(id).value();
  std::vector<uint8_t> pages(static_cast<size_t>(rig.batch().pages().bytes));
  rig.stream().Copy(pages.data(), rig.batch().pages().address, static_cast<int64_t>(pages.size()));
  std::vector<PolicyOracle> heads;
  for (size_t h = 0; h < copy.heads.size(); ++h) {
    PolicyOracle oracle;
    oracle.paper = copy.rows.policy == OnlinePolicy::kDiffKvPaper;
    oracle.alpha_high = copy.rows.alpha_high;
    oracle.alpha_low = copy.rows.alpha_low;
    oracle.window = copy.rows.window;
    oracle.first_query = copy.rows.first_query;
    for (const int32_t tier : {kHigh, kLow}) {
      const PageLayout& layout = copy.arena.layouts[static_cast<int>(copy.rows.formats[tier])];
      for (int32_t t = 0; t < copy.heads[h].tokens[tier]; ++t) {
        const int32_t place = RowPlace(copy.heads[h], copy.rows.capacity, tier, t / layout.tokens);
        const int32_t page = copy.page_ids[h * static_cast<size_t>(copy.rows.capacity) + static_cast<size_t>(place)];
        const uint8_t* bytes = pages.data() + page * copy.arena.page_bytes;
        int32_t position = 0;
        PolicyOracle::Token token;
        std::memcpy(&position, bytes + layout.positions + 4 * (t % layout.tokens), 4);
        std::memcpy(&token.sum, bytes + layout.scores + 4 * (t % layout.tokens), 4);
        token.slot = t;
        (tier == kHigh ? oracle.high : oracle.low)[position] = token;
      }
    }
    heads.push_back(oracle);
  }
  return heads;
}

std::vector<int32_t> Positions(const std::map<int, PolicyOracle::Token>& tier) {
  std::vector<int32_t> positions;
  for (const auto& [position, token] : tier) positions.push_back(position);
  return positions;
}

// The counts and positions of every head after every step are those of the oracle on the same scores.
void ExpectFollowsOracle(const std::string& profile, float alpha_high, float alpha_low) {
  const auto rig = OnTestDevice();
  const int32_t prompt_tokens = 140;
  const std::vector<int32_t> prompt = rig->Prompt(prompt_tokens);
  Recipe recipe = rig->RecipeOf(profile);
  recipe.alpha_high = alpha_high;
  recipe.alpha_low = alpha_low;
  const Poured poured = rig->Prefill(prompt, recipe);
  const SequenceId id = rig->batch().Reserve(rig->Options(prompt, recipe, 40)).value();
  for (const EncodedLayer& layer : poured.layers) ASSERT_TRUE(rig->batch().Import(id, layer.batch).ok());
  ASSERT_TRUE(rig->batch().Join(id, poured.first_token).ok());
  int64_t demoted = 0;
  int64_t dropped = 0;
  for (int32_t n = prompt_tokens; rig->batch().running() > 0; ++n) {
    std::vector<PolicyOracle> heads = ReadHeads(*rig, id);
    ASSERT_TRUE(rig->batch().Step().ok());
    const std::vector<PolicyOracle> after = ReadHeads(*rig, id);
    TokenCounts counts;
    for (size_t h = 0; h < heads.size(); ++h) {
      heads[h].Step(n);
      ASSERT_EQ(Positions(after[h].high), Positions(heads[h].high)) << "head " << h << " position " << n;
      ASSERT_EQ(Positions(after[h].low), Positions(heads[h].low)) << "head " << h << " position " << n;
      counts.high += static_cast<int64_t>(heads[h].high.size());
      counts.low += static_cast<int64_t>(heads[h].low.size());
      demoted += heads[h].demoted;
      dropped += heads[h].dropped;
    }
    const SequenceUse use = rig->batch().Use(id).value();
    EXPECT_EQ(use.tokens.high, counts.high);
    EXPECT_EQ(use.tokens.low, counts.low);
    EXPECT_EQ(use.tokens.demoted, demoted);
    EXPECT_EQ(use.tokens.dropped, dropped);
  }
  EXPECT_GT(demoted, 0) << "the test saw no demotion";
  EXPECT_GT(dropped, 0) << "the test saw no pruning";
}

TEST(DecodePagesTest, ThePaperPolicyFollowsTheOracle) { ExpectFollowsOracle("diffkv", 1.0f, 0.2f); }
TEST(DecodePagesTest, TheReleasedPolicyFollowsTheOracle) { ExpectFollowsOracle("diffkv-release", 1.0f, 0.2f); }

}  // namespace
}  // namespace decant
