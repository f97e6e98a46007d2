#include "services/pool/publish_rules.h"

#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/services/pool/pool_rig.h"

namespace decant {
namespace {

using namespace pool_rig;  // NOLINT
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class PublishRulesTest : public testing::Test {
 protected:
  const Prompt prompt_ = PromptOf(1, 3);
  const std::shared_ptr<const PublishRules> rules_ =
      *PublishRules::Create(StartOf(prompt_, "k8v4", 0, 3), TestCatalogue());
};

TEST_F(PublishRulesTest, TakesGoodFramesInAnyOrder) {
  const std::string message = FrameOf(prompt_, "k8v4", 2, 1) + FrameOf(prompt_, "k8v4", 0, 2);
  const CheckedMessage checked = rules_->Check(message);
  EXPECT_TRUE(checked.fault.ok());
  ASSERT_EQ(checked.frames.size(), 2u);
  EXPECT_EQ(checked.frames[0].chunk, 2u);
  EXPECT_EQ(checked.frames[0].blob.first_layer, 1);
  EXPECT_EQ(checked.frames[1].chunk, 0u);
  EXPECT_EQ(checked.frames[1].blob.blob.view(), FrameOf(prompt_, "k8v4", 0, 2));
  EXPECT_THAT(rules_->Check("").frames, IsEmpty());
}

TEST_F(PublishRulesTest, RefusesTheChunkThatAWrongFrameNames) {
  const FrameHeader good = HeaderOf("k8v4", kChunkTokens, 0, prompt_.keys[1]);
  const auto refused = [&](auto change) {
    FrameHeader header = good;
    change(header);
    const CheckedMessage checked = rules_->Check(FrameOf(header) + FrameOf(prompt_, "k8v4", 0, 0));
    EXPECT_EQ(checked.frames.size(), 1u) << "the good frame behind it is taken";
    EXPECT_EQ(checked.fault.code(), absl::StatusCode::kFailedPrecondition) << checked.fault;
    return checked.wrong_chunks;
  };
  EXPECT_THAT(refused([](FrameHeader& h) { h.model_fingerprint ^= 1; }), ElementsAre(1));
  EXPECT_THAT(refused([](FrameHeader& h) { h.profile = Sha256("x"); }), ElementsAre(1));
  EXPECT_THAT(refused([](FrameHeader& h) { h.context = Sha256("x"); }), ElementsAre(1));
  EXPECT_THAT(refused([](FrameHeader& h) { h.span = kChunkTokens - 1; }), ElementsAre(1));
  EXPECT_THAT(refused([](FrameHeader& h) { h.first_layer = 3; }), ElementsAre(1));
  EXPECT_THAT(refused([](FrameHeader& h) { h.layers = 4; }), ElementsAre(1));
  EXPECT_THAT(refused([](FrameHeader& h) { h.heads = 1; }), ElementsAre(1));
  EXPECT_THAT(refused([](FrameHeader& h) { h.first_head = 2; }), ElementsAre(1));
  EXPECT_THAT(refused([](FrameHeader& h) { h.head_dim = 64; }), ElementsAre(1));
  EXPECT_THAT(refused([](FrameHeader& h) { h.formats[0] = FormatId::kK4V2; }), ElementsAre(1));
  EXPECT_THAT(refused([](FrameHeader& h) { h.key_form.rope = 0; }), ElementsAre(1));
  EXPECT_THAT(refused([](FrameHeader& h) { h.provenance = Provenance::kExact; }), ElementsAre(1));
  EXPECT_THAT(refused([](FrameHeader& h) { h.provenance = Provenance::kBlended; }), ElementsAre(1));
  // Frames at a place that nobody announced name no chunk.
  EXPECT_THAT(refused([](FrameHeader& h) { h.first_position = 8; }), IsEmpty());
  EXPECT_THAT(refused([](FrameHeader& h) { h.first_position = 3 * kChunkTokens; }), IsEmpty());
}

TEST_F(PublishRulesTest, AFrameNeedNotStateItsKey) {
  FrameHeader header = HeaderOf("k8v4", 0, 0, {});
  EXPECT_EQ(rules_->Check(FrameOf(header)).frames.size(), 1u);
}

TEST_F(PublishRulesTest, DropsWhatCannotBeRead) {
  const std::string good = FrameOf(prompt_, "k8v4", 0, 0);
  const std::string other = FrameOf(prompt_, "k8v4", 1, 0);
  for (size_t i = 0; i < good.size(); i += 97) {
    std::string flipped = good;
    flipped[i] = static_cast<char>(flipped[i] ^ 4);
    const CheckedMessage checked = rules_->Check(flipped + other);
    EXPECT_THAT(checked.frames, IsEmpty()) << i;
    EXPECT_FALSE(checked.fault.ok()) << i;
  }
  EXPECT_EQ(rules_->Check(other + good.substr(0, good.size() - 1)).frames.size(), 1u);
  EXPECT_THAT(rules_->Check(good.substr(16)).frames, IsEmpty());
  EXPECT_FALSE(rules_->Check("not a frame").fault.ok());
}

TEST(PublishRulesCreateTest, StoresOnlyShareableForms) {
  const Prompt prompt = PromptOf(1, 2);
  const auto refused = PublishRules::Create(StartOf(prompt, "diffkv", 0, 2), TestCatalogue());
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("k8v4"));
  for (const char* profile : {"full", "k8v4", "k4v2"}) {
    EXPECT_TRUE(PublishRules::Create(StartOf(prompt, profile, 0, 2), TestCatalogue()).ok()) << profile;
  }
  EXPECT_EQ(PublishRules::Create(StartOf(prompt, "zip", 0, 2), TestCatalogue()).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(PublishRulesCreateTest, RefusesWhatIsNoChain) {
  const Prompt prompt = PromptOf(1, 4);
  const auto code = [&](auto change) {
    PublishStart start = StartOf(prompt, "full", 1, 3);
    change(start);
    return PublishRules::Create(start, TestCatalogue()).status().code();
  };
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(code([](PublishStart&) {}), absl::StatusCode::kOk);
  EXPECT_EQ(code([](PublishStart& s) { s.chunks.clear(); }), kInvalid);
  EXPECT_EQ(code([](PublishStart& s) { s.chunks.erase(s.chunks.begin() + 1); }), kInvalid);
  EXPECT_EQ(code([](PublishStart& s) { std::swap(s.chunks[0], s.chunks[1]); }), kInvalid);
  EXPECT_EQ(code([](PublishStart& s) { s.chunks[0].parent = {}; }), kInvalid);
  EXPECT_EQ(code([](PublishStart& s) { s.chunks[1].parent = Sha256("x"); }), kInvalid);
  EXPECT_EQ(code([](PublishStart& s) { s.chunks[2].tokens = 15; }), kInvalid);
  EXPECT_EQ(code([](PublishStart& s) { s.chunks[0].tokens = 0; }), kInvalid);
  EXPECT_EQ(code([](PublishStart& s) { s.chunks[2].key = {}; }), kInvalid);
  EXPECT_EQ(code([](PublishStart& s) { s.chunks[2].quality = 1.1; }), kInvalid);
  EXPECT_EQ(code([](PublishStart& s) { s.chunks[2].quality = std::numeric_limits<double>::quiet_NaN(); }), kInvalid);
  EXPECT_EQ(code([](PublishStart& s) { s.model.geometry.layers = 0; }), kInvalid);
  EXPECT_EQ(code([](PublishStart& s) { s.model.geometry.layers = 1 << 30; }), kInvalid);
  EXPECT_EQ(code([](PublishStart& s) { s.model.fingerprint = {}; }), kInvalid);
  EXPECT_EQ(code([](PublishStart& s) {
              for (auto& c : s.chunks) c.first_token = std::numeric_limits<int32_t>::max() - 15;
            }),
            kInvalid);
}

}  // namespace
}  // namespace decant
