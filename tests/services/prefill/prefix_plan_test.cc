#include "services/prefill/prefix_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace decant {
namespace {

using ::testing::HasSubstr;

constexpr Geometry kGeometry{2, 4, 2, 64};

class PrefixPlanTest : public ::testing::Test {
 protected:
  PrefixPlan Plan(const std::string& profile, const std::vector<std::string>& stored, int32_t prompt_tokens = 1000) {
    PrefillJob job;
    job.run_type = RunType::kBf16;
    job.chunk_tokens = 64;
    job.tokens.resize(static_cast<size_t>(prompt_tokens));
    for (const std::string& name : stored) {
      StoredChunk chunk;
      chunk.first_token = static_cast<int32_t>(job.prefix.size()) * 64;
      chunk.tokens = 64;
      chunk.profile = name;
      job.prefix.push_back(chunk);
    }
    if (break_at_ >= 0) job.prefix[static_cast<size_t>(break_at_)].first_token += 1;
    const Recipe recipe = *Compile(*catalogue_.Find(profile), kGeometry, RunType::kBf16);
    return PlanPrefix(job, recipe, catalogue_, kGeometry);
  }
  const Catalogue catalogue_ = *Catalogue::BuiltIn();
  int break_at_ = -1;
};

TEST_F(PrefixPlanTest, ForwardsFramesOfATiersFormat) {
  EXPECT_EQ(Plan("k8v4", {"k8v4", "k8v4"}).leading, 2);
  EXPECT_EQ(Plan("diffkv", {"k8v4", "k8v4"}).leading, 2);
  EXPECT_EQ(Plan("full", {"full"}).leading, 1);
}

TEST_F(PrefixPlanTest, ForwardsK8V4AsTheFixedRunOfAnotherProfile) {
  const PrefixPlan plan = Plan("k4v2", {"k8v4"});
  EXPECT_EQ(plan.leading, 1);
  EXPECT_EQ(plan.formats[0], FormatId::kK8V4);
}

TEST_F(PrefixPlanTest, EncodesExactChunksLikeComputedOnes) {
  const PrefixPlan plan = Plan("k8v4", {"k8v4", "full", "full"});
  EXPECT_EQ(plan.leading, 1);
  EXPECT_EQ(plan.forwards, (std::vector<bool>{true, false, false}));
  EXPECT_EQ(plan.miss_reason, "");
}

TEST_F(PrefixPlanTest, TakesChunksOfEveryForm) {
  const PrefixPlan plan = Plan("k8v4", {"full", "k8v4", "k4v2", "k8v4"});
  EXPECT_EQ(plan.leading, 0);
  EXPECT_EQ(plan.forwards, (std::vector<bool>{false, true, false, true}));
  EXPECT_EQ(plan.miss_reason, "");
  // Its fixed run of K8V4 comes first in a row, its own format may stand anywhere.
  EXPECT_EQ(Plan("k4v2", {"k8v4", "full", "k8v4", "k4v2"}).forwards, (std::vector<bool>{true, false, false, true}));
  // Tiers are chosen among what is encoded, so nothing is forwarded behind that.
  EXPECT_EQ(Plan("diffkv", {"k8v4", "full", "k8v4"}).forwards, (std::vector<bool>{true, false, false}));
}

TEST_F(PrefixPlanTest, ARecipeThatSelectsEncodesWhatItTakes) {
  const PrefixPlan plan = Plan("snapkv", {"full", "full", "k8v4"});
  EXPECT_EQ(plan.leading, 0);  // though full is its own format
  EXPECT_EQ(plan.forwards, (std::vector<bool>{false, false, false}));
  EXPECT_EQ(Plan("kvzip", {"full", "full"}, 129).chunks(), 2);
  EXPECT_EQ(Plan("fastkv", {"full", "full"}).chunks(), 0);
}

TEST_F(PrefixPlanTest, TheQueriesThatScoreAreComputed) {
  EXPECT_EQ(Plan("snapkv", {"full", "full"}, 128 + 32).chunks(), 2);
  EXPECT_EQ(Plan("snapkv", {"full", "full"}, 128 + 31).chunks(), 1);
  EXPECT_EQ(Plan("snapkv", {"full"}, 40).chunks(), 0);
}

TEST_F(PrefixPlanTest, AWindowIsComputedWhereThresholdsChoose) {
  for (const std::string profile : {"diffkv", "diffkv-release"}) {
    EXPECT_EQ(Plan(profile, {"k8v4", "k8v4"}, 128 + 64).leading, 2) << profile;
    const PrefixPlan plan = Plan(profile, {"k8v4", "k8v4"}, 128 + 63);
    EXPECT_EQ(plan.leading, 1) << profile;
    EXPECT_THAT(plan.miss_reason, HasSubstr("fewer tokens to compute than the 64"));
  }
  EXPECT_EQ(Plan("k8v4", {"k8v4", "k8v4"}, 128 + 1).leading, 2);
}

TEST_F(PrefixPlanTest, StopsAtWhatCannotBeTaken) {
  EXPECT_EQ(Plan("full", {"full", "k8v4"}).chunks(), 1);
  EXPECT_THAT(Plan("full", {"k8v4"}).miss_reason, HasSubstr("stored as k8v4"));
  EXPECT_EQ(Plan("k8v4", {"diffkv"}).chunks(), 0);  // query-aware
  EXPECT_EQ(Plan("k8v4", {"no such profile"}).chunks(), 0);
}

TEST_F(PrefixPlanTest, LeavesATokenToCompute) {
  EXPECT_EQ(Plan("k8v4", {"k8v4", "k8v4"}, 128).chunks(), 1);
  EXPECT_EQ(Plan("k8v4", {"k8v4", "k8v4"}, 129).chunks(), 2);
}

TEST_F(PrefixPlanTest, StopsAtAGap) {
  break_at_ = 1;
  EXPECT_EQ(Plan("k8v4", {"k8v4", "k8v4", "k8v4"}).chunks(), 1);
}

}  // namespace
}  // namespace decant
