// Decoding on every device from frames that the host made: rows, pages, attention, policies and sampling of a step run
// as kernels, from the third step on as a captured whole.
#include <gtest/gtest.h>

#include <map>

#include "tests/gpu/engine/decode_rig.h"
#include "tests/support/kernel_devices.h"
#include "tests/support/test_device.h"

namespace decant {
namespace {

constexpr char kModel[] = "tests/golden/models/qwen3";  // key norm, head_dim 48
constexpr int64_t kPageBytes = int64_t{4} << 20;

class DecodeOnDevicesTest : public testing::TestWithParam<KernelDevice> {
 protected:
  DecodeRig device_{GetParam().create(int64_t{256} << 20), kModel, kPageBytes};
  DecodeRig host_{CreateTestDevice(1), kModel, kPageBytes};
};
DECANT_ON_KERNEL_DEVICES(DecodeOnDevicesTest);

TEST_P(DecodeOnDevicesTest, EveryKindOfProfileGivesTheHostsLogits) {
  const std::vector<int32_t> prompt = host_.Prompt(40);
  for (const char* profile : {"full", "k8v4", "k4v2", "diffkv", "kivi2", "quest", "h2o", "streamingllm", "mikv"}) {
    const Recipe recipe = host_.RecipeOf(profile);
    const Poured poured = host_.Prefill(prompt, recipe);
    std::vector<std::vector<float>> logits[2];
    int64_t bytes[2] = {0, 0};
    int which = 0;
    for (DecodeRig* rig : {&device_, &host_}) {
      SequenceOptions options = rig->Options(prompt, recipe, 8);
      // The same tokens on both: greedy paths may part.
      options.forced = {3, 1, 4, 1, 5, 9, 2};
      const SequenceId id = rig->batch().Reserve(options).value();
      for (const EncodedLayer& layer : poured.layers) {
        const absl::Status imported = rig->batch().Import(id, layer.batch);
        ASSERT_TRUE(imported.ok()) << profile << ": " << imported;
      }
      ASSERT_TRUE(rig->batch().Join(id, poured.first_token).ok()) << profile;
      for (int step = 0; step < 7; ++step) {
        ASSERT_TRUE(rig->batch().Step().ok()) << profile;
        logits[which].push_back(rig->StepLogits());
      }
      bytes[which] = rig->batch().Use(id)->bytes_read;
      rig->batch().Remove(id);
      EXPECT_EQ(rig->batch().unreserved_pages(), rig->batch().total_pages());
      ++which;
    }
    for (size_t step = 0; step < logits[0].size(); ++step) {
      // A step's own token is encoded from products that were summed in another order: a code may differ by one.
      EXPECT_LE(LargestDifference(logits[0][step], logits[1][step]), 5e-3 * LargestMagnitude(logits[1][step]))
          << profile << " step " << step;
    }
    EXPECT_EQ(bytes[0], bytes[1]) << profile;
  }
}

TEST_P(DecodeOnDevicesTest, SequencesJoinAndLeaveBetweenCapturedSteps) {
  std::vector<std::vector<int32_t>> answers[2];
  int which = 0;
  for (DecodeRig* rig : {&device_, &host_}) {
    std::map<SequenceId, size_t> order;
    const auto start = [&](int32_t tokens, const char* profile, int32_t max_tokens) {
      const std::vector<int32_t> prompt = host_.Prompt(tokens, static_cast<uint64_t>(tokens));
      const Recipe recipe = host_.RecipeOf(profile);
      const SequenceId id = rig->Start(prompt, recipe, host_.Prefill(prompt, recipe), max_tokens);
      order[id] = answers[which].size();
      answers[which].emplace_back();
    };
    start(20, "full", 12);
    const auto step = [&](int count) {
      for (int i = 0; i < count; ++i) {
        const auto tokens = rig->batch().Step();
        for (const StepToken& token : tokens.value()) {
          answers[which][order[token.sequence]].push_back(token.token);
        }
      }
    };
    step(4);
    start(33, "full", 5);  // its longer rows ask for more scratch, which a captured step must not outlive
    step(6);
    start(7, "full", 9);
    step(10);
    EXPECT_EQ(rig->batch().running(), 0);
    ++which;
  }
  EXPECT_EQ(answers[0], answers[1]);
}

}  // namespace
}  // namespace decant
