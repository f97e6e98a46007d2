// The forward pass against the reference's logits, in every architecture.
#include <gmock/gmock.h>

#include "tests/gpu/engine/golden_models.h"
#include "tests/support/test_device.h"

namespace decant {
namespace {

class PrefillParityTest : public testing::TestWithParam<std::string> {};

TEST_P(PrefillParityTest, GivesTheReferencesLogitsInF32) {
  const auto device = CreateTestDevice(2);
  const GoldenModel model = LoadGolden(*device, GetParam(), RunType::kF32);
  EXPECT_LE(RelativeDifference(RunPrefill(model, PrefillOptions()), model.logits), 1e-3f);
}

TEST_P(PrefillParityTest, StaysNearTheReferenceInBf16) {
  const auto device = CreateTestDevice(2);
  const GoldenModel model = LoadGolden(*device, GetParam(), RunType::kBf16);
  const float difference = RelativeDifference(RunPrefill(model, PrefillOptions()), model.logits);
  EXPECT_LE(difference, 0.05f);
  EXPECT_GT(difference, 1e-5f) << "bf16 rounds; equal logits would mean that f32 ran";
}

TEST_P(PrefillParityTest, TileSizeAndThreadsDoNotMatter) {
  for (const RunType type : {RunType::kF32, RunType::kBf16}) {
    const auto device = CreateTestDevice(1);
    const GoldenModel model = LoadGolden(*device, GetParam(), type);
    const std::vector<float> whole = RunPrefill(model, PrefillOptions());
    const auto more_threads = CreateTestDevice(3);
    const GoldenModel threaded = LoadGolden(*more_threads, GetParam(), type);
    EXPECT_EQ(RunPrefill(threaded, PrefillOptions()), whole);
    for (const int32_t tile : {1, 7, 8, 9, 33, 39, 40, 41}) {
      PrefillOptions options;
      options.tile = tile;
      EXPECT_LE(RelativeDifference(RunPrefill(model, options), whole), type == RunType::kF32 ? 1e-5f : 0.02f) << tile;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, PrefillParityTest, testing::ValuesIn(GoldenModelNames()),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace decant
