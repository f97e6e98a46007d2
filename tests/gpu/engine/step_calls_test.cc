// What a decode step asks of its device, counted on the launcher.
#include <gtest/gtest.h>

#include "tests/gpu/engine/decode_rig.h"
#include "tests/support/launcher/launcher_device.h"

namespace decant {
namespace {

constexpr int64_t kPageBytes = int64_t{4} << 20;

LauncherDevice::Calls Since(const LauncherDevice::Calls& before, const LauncherDevice::Calls& now) {
  return {now.launches - before.launches, now.allocations - before.allocations, now.copies - before.copies,
          now.waits - before.waits};
}

// D7: the released code waited three times a layer in decode, four times a step and once more a layer for a length it
// read back. D10: it compared the outputs of all ranks after every step, which takes a copy and a wait. Here a step of
// any batch waits once, however many layers there are.
TEST(StepCallsTest, D7AndD10AStepWaitsOnceAndItsCopiesAreCounted) {
  constexpr int64_t kCopies = 3;          // inputs there, the record zeroed, the record back
  constexpr int64_t kCopiesOfABatch = 2;  // rows and sampling there, when the batch has changed
  LauncherOptions options;
  options.arena_bytes = int64_t{256} << 20;
  auto created = CreateLauncherDevice(options);
  LauncherDevice& device = *created;
  DecodeRig rig(std::move(created), "tests/golden/models/qwen3", kPageBytes);
  DecodeRig prefill(CreateLauncherDevice(options), "tests/golden/models/qwen3", kPageBytes);
  for (const char* profile : {"diffkv", "full", "kivi2"}) {
    const std::vector<int32_t> prompt = prefill.Prompt(24);
    const Recipe recipe = prefill.RecipeOf(profile);
    rig.Start(prompt, recipe, prefill.Prefill(prompt, recipe), 16);
    for (int step = 0; step < 4; ++step) {
      const LauncherDevice::Calls before = device.calls();
      ASSERT_TRUE(rig.batch().Step().ok());
      const LauncherDevice::Calls calls = Since(before, device.calls());
      EXPECT_EQ(calls.waits, 1) << profile << " step " << step;
      EXPECT_EQ(calls.copies, kCopies + (step == 0 ? kCopiesOfABatch : 0)) << profile << " step " << step;
      EXPECT_EQ(calls.allocations, 0) << profile << " step " << step;
      EXPECT_GT(calls.launches, 0);
    }
  }
  EXPECT_EQ(rig.batch().running(), 3);
}

}  // namespace
}  // namespace decant
