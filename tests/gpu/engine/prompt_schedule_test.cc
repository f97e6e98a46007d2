#include "gpu/engine/prompt_schedule.h"

#include <gmock/gmock.h>

#include "tests/gpu/engine/golden_models.h"
#include "tests/support/test_device.h"

namespace decant {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr int32_t kLayers = 5;

// Notes what happens to it.
class FakeRun final : public PrefillRun {
 public:
  explicit FakeRun(int32_t keep) : keep_(keep) {}
  int32_t layers() const override { return kLayers; }
  int32_t rows() const override { return 9; }
  LayerTap PrefixTarget(int32_t) override { return LayerTap(); }
  absl::StatusOr<LayerTap> ComputeLayer(int32_t layer) override {
    events.push_back("compute " + std::to_string(layer));
    next_ = layer + 1;
    return Tap(layer);
  }
  absl::StatusOr<LayerTap> Tap(int32_t layer) const override {
    if (next_ - layer > keep_) return absl::FailedPreconditionError("gone");
    LayerTap tap;
    tap.layer = layer;
    return tap;
  }
  absl::Status SelectRows(const TokenSelection& selection) override {
    events.push_back("select " + std::to_string(selection.kept));
    return absl::OkStatus();
  }
  absl::Status KeepRows(absl::Span<const int32_t>) override { return absl::OkStatus(); }
  absl::Status BeginReplay(absl::Span<const ReplayChunk> chunks, int32_t sinks) override {
    events.push_back("replay " + std::to_string(chunks.size()) + " " + std::to_string(sinks));
    return absl::OkStatus();
  }
  absl::Status ReplayLayer(int32_t layer) override {
    events.push_back("replay layer " + std::to_string(layer));
    return absl::OkStatus();
  }
  const float* replay_scores() const override { return nullptr; }
  absl::StatusOr<int32_t> SampleFirst(const Sampling&, int64_t) override { return 0; }
  absl::Status CopyLogits(absl::Span<float>) override { return absl::OkStatus(); }

  std::vector<std::string> events;

 private:
  int32_t keep_;
  int32_t next_ = 0;
};

class PromptScheduleTest : public testing::Test {
 protected:
  absl::Status Compute() {
    run_ = std::make_unique<FakeRun>(OptionsFor(schedule_, PrefillOptions()).keep_layers);
    visitor_.on_layers = [this](absl::Span<const LayerTap> layers) {
      std::string event = "layers";
      for (const LayerTap& tap : layers) event += " " + std::to_string(tap.layer);
      run_->events.push_back(event);
      return absl::OkStatus();
    };
    return ComputePrompt(*run_, schedule_, visitor_);
  }
  PromptSchedule schedule_;
  PromptVisitor visitor_;
  std::unique_ptr<FakeRun> run_;
};

TEST_F(PromptScheduleTest, HandsEachLayerOnAsItComes) {
  visitor_.before_layer = [this](int32_t layer) {
    run_->events.push_back("before " + std::to_string(layer));
    return absl::OkStatus();
  };
  ASSERT_TRUE(Compute().ok());
  ASSERT_EQ(run_->events.size(), 15u);
  run_->events.resize(6);
  EXPECT_THAT(run_->events, ElementsAre("before 0", "compute 0", "layers 0", "before 1", "compute 1", "layers 1"));
}

TEST_F(PromptScheduleTest, HandsGroupsOnWithASmallerLastOne) {
  schedule_.group = 2;
  ASSERT_TRUE(Compute().ok());
  EXPECT_THAT(run_->events, ElementsAre("compute 0", "compute 1", "layers 0 1", "compute 2", "compute 3", "layers 2 3",
                                        "compute 4", "layers 4"));
  for (const int32_t group : {5, 6, kAllLayers}) {
    schedule_.group = group;
    ASSERT_TRUE(Compute().ok());
    EXPECT_EQ(run_->events.back(), "layers 0 1 2 3 4");
    EXPECT_EQ(run_->events.size(), 6u);
  }
}

TEST_F(PromptScheduleTest, ReplaysALayerBeforeItIsHandedOn) {
  schedule_.group = 4;
  schedule_.replay = {{{1}, 2, 3}, {{1}, 3, 4}};
  schedule_.sinks = 2;
  ASSERT_TRUE(Compute().ok());
  EXPECT_THAT(run_->events, ElementsAre("replay 2 2", "compute 0", "replay layer 0", "compute 1", "replay layer 1",
                                        "compute 2", "replay layer 2", "compute 3", "replay layer 3", "layers 0 1 2 3",
                                        "compute 4", "replay layer 4", "layers 4"));
}

TEST_F(PromptScheduleTest, SelectsAfterItsLayer) {
  schedule_.select_after = 3;
  schedule_.selection.kept = 7;
  visitor_.after_layer = [this](const LayerTap& tap) {
    if (tap.layer == 3) run_->events.push_back("after 3");
    return absl::OkStatus();
  };
  ASSERT_TRUE(Compute().ok());
  EXPECT_THAT(run_->events, ElementsAre("compute 0", "layers 0", "compute 1", "layers 1", "compute 2", "layers 2",
                                        "compute 3", "after 3", "select 7", "layers 3", "compute 4", "layers 4"));
}

TEST_F(PromptScheduleTest, RefusesWhatCannotBe) {
  schedule_.group = 0;
  EXPECT_EQ(Compute().code(), absl::StatusCode::kInvalidArgument);
  schedule_.group = 1;
  schedule_.select_after = 4;
  EXPECT_THAT(std::string(Compute().message()), HasSubstr("after layer 4 of 5"));
  schedule_.select_after = 3;
  schedule_.replay = {{{1}, 0, 1}};
  EXPECT_THAT(std::string(Compute().message()), HasSubstr("replay"));
  EXPECT_THAT(run_->events, ElementsAre());
}

TEST_F(PromptScheduleTest, StopsAtTheVisitorsFirstError) {
  visitor_.before_layer = [](int32_t layer) { return layer == 2 ? absl::CancelledError("enough") : absl::OkStatus(); };
  EXPECT_EQ(Compute().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(run_->events.back(), "layers 1");
  visitor_.before_layer = nullptr;
  visitor_.after_layer = [](const LayerTap&) { return absl::AbortedError("no"); };
  EXPECT_EQ(Compute().code(), absl::StatusCode::kAborted);
  EXPECT_THAT(run_->events, ElementsAre("compute 0"));
}

TEST_F(PromptScheduleTest, AsksForTheSumsOfItsWindowOnce) {
  PrefillOptions options;
  EXPECT_TRUE(OptionsFor(schedule_, options).more_scores.empty());
  schedule_.select_after = 0;
  schedule_.selection.window = 16;
  options.score = ScoreSource::kLastWindow;
  options.window = 32;
  const PrefillOptions wanted = OptionsFor(schedule_, options);
  ASSERT_EQ(wanted.more_scores.size(), 1u);
  EXPECT_EQ(wanted.more_scores[0].window, 16);
  EXPECT_EQ(OptionsFor(schedule_, wanted).more_scores.size(), 1u);
  options.window = 16;
  EXPECT_TRUE(OptionsFor(schedule_, options).more_scores.empty());
}

TEST(ComputePromptTest, DrivesARealRun) {
  const auto device = CreateTestDevice(2);
  const GoldenModel model = LoadGolden(*device, "llama", RunType::kF32);
  PromptSchedule schedule;
  schedule.group = kAllLayers;
  schedule.select_after = 0;
  schedule.selection = {20, 4, 7, false};
  const auto run =
      PrefillRun::Create(*model.weights, *model.stream, model.tokens, OptionsFor(schedule, PrefillOptions())).value();
  std::vector<int32_t> tokens;
  PromptVisitor visitor;
  visitor.on_layers = [&](absl::Span<const LayerTap> layers) {
    for (const LayerTap& tap : layers) tokens.push_back(tap.tokens);
    return absl::OkStatus();
  };
  ASSERT_TRUE(ComputePrompt(*run, schedule, visitor).ok());
  EXPECT_THAT(tokens, ElementsAre(40, 20));
  EXPECT_TRUE(run->SampleFirst(Sampling(), 40).ok());

  schedule.select_after = -1;
  schedule.replay = RepeatPrompts(model.tokens, 4, 40, RepeatWording{{1}, {2}, {3}, 18, 3});
  schedule.sinks = 4;
  const auto replayed =
      PrefillRun::Create(*model.weights, *model.stream, model.tokens, OptionsFor(schedule, PrefillOptions())).value();
  int scored = 0;
  visitor.on_layers = [&](absl::Span<const LayerTap> layers) {
    for (const LayerTap& tap : layers) scored += tap.replay_scores != nullptr;
    return absl::OkStatus();
  };
  ASSERT_TRUE(ComputePrompt(*replayed, schedule, visitor).ok());
  EXPECT_EQ(scored, 2);
}

}  // namespace
}  // namespace decant
