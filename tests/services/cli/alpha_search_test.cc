#include "services/cli/alpha_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/cli/held_out_text.h"
#include "services/cli/measure_profiles.h"
#include "tests/support/paths/paths.h"

namespace decant {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;

AlphaScore Score(double divergence, double resident_bytes) {
  AlphaScore score;
  score.divergence = divergence;
  score.resident_bytes = resident_bytes;
  return score;
}

TEST(ChooseAlphasTest, TakesTheCheapestWithinTheLoss) {
  const std::vector<AlphaScore> scores = {Score(0, 100), Score(0.01, 50), Score(0.02, 40), Score(0.05, 30),
                                          Score(0.2, 10)};
  EXPECT_EQ(ChooseAlphas(scores, 0.05), 3u);
  EXPECT_EQ(ChooseAlphas(scores, 0.02), 2u);
  EXPECT_EQ(ChooseAlphas(scores, 1), 4u);
}

TEST(ChooseAlphasTest, TakesTheMostFaithfulWhenNoneIsWithinTheLoss) {
  const std::vector<AlphaScore> scores = {Score(0, 100), Score(0.01, 50), Score(0.4, 40), Score(0.3, 45),
                                          Score(0.5, 30)};
  EXPECT_EQ(ChooseAlphas(scores, 0.05), 3u);
}

TEST(HeldOutTextTest, IsAFunctionOfItsSeedAndEndsWithAQuestion) {
  EXPECT_EQ(HeldOutText(1, 200), HeldOutText(1, 200));
  EXPECT_NE(HeldOutText(1, 200), HeldOutText(2, 200));
  EXPECT_THAT(HeldOutText(3, 200), EndsWith("? Answer:"));
  EXPECT_GT(HeldOutText(3, 1000).size(), HeldOutText(3, 100).size());
}

class BundledModelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto model = LoadedModel::Load(SourceDir() + "/deploy/models/decant-tiny", "f32", 2);
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
    for (uint64_t seed = 0; seed < 2; ++seed) {
      prompts_.push_back(*model_->folder.tokenizer->Encode(HeldOutText(seed, 500)));
    }
  }
  std::shared_ptr<const LoadedModel> model_;
  std::vector<std::vector<int32_t>> prompts_;
};

TEST_F(BundledModelTest, SearchMeasuresEveryCandidateAgainstFullPrecision) {
  AlphaSearchOptions options;
  options.profile = *Catalogue::BuiltIn()->Find("diffkv");
  options.answer_tokens = 6;
  options.highs = {1, 4};
  options.lows = {0, 0.1};
  int32_t last = 0;
  options.progress = [&](int32_t done, int32_t all) {
    EXPECT_EQ(done, ++last);
    EXPECT_EQ(all, 4);
  };
  const auto choice = SearchAlphas(*model_, prompts_, options);
  ASSERT_TRUE(choice.ok()) << choice.status();
  EXPECT_EQ(last, 4);
  for (const auto& sweep : {choice->first, choice->second}) {
    ASSERT_EQ(sweep.size(), 4u);
    EXPECT_EQ(sweep[0].divergence, 0);
    EXPECT_EQ(sweep[0].agreement, 1);
    EXPECT_LT(sweep[1].resident_bytes, sweep[0].resident_bytes);
    EXPECT_GT(sweep[1].divergence, 0);
  }
  // More tokens fall to the low tier, and more fall out.
  EXPECT_LE(choice->first[3].resident_bytes, choice->first[2].resident_bytes);
  EXPECT_LE(choice->second[3].resident_bytes, choice->second[2].resident_bytes);

  options.profile = *Catalogue::BuiltIn()->Find("k8v4");
  EXPECT_EQ(SearchAlphas(*model_, prompts_, options).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(BundledModelTest, ProfilesAreToldRelativeToFull) {
  const auto costs = MeasureProfiles(*model_, prompts_, Calibration(), 6, [](absl::string_view) {});
  ASSERT_TRUE(costs.ok()) << costs.status();
  EXPECT_EQ(costs->front().name, "full");
  EXPECT_EQ(costs->front().quality, 1);
  EXPECT_EQ(costs->front().tpot_ratio, 1);
  for (const ProfileCost& cost : *costs) {
    EXPECT_GT(cost.quality, 0) << cost.name;
    EXPECT_LE(cost.quality, 1) << cost.name;
    EXPECT_GE(cost.wire_ratio, costs->front().wire_ratio) << cost.name;
  }
}

}  // namespace
}  // namespace decant
