// What Compile takes, decode takes: no combination of stages is refused only once its frames arrive.
#include "gpu/engine/sequence_checks.h"

#include <gtest/gtest.h>

#include "common/compress/profile.h"
#include "common/compress/profile_names.h"
#include "gpu/engine/decode_sequence.h"

namespace decant {
namespace {

constexpr int32_t kHeadDim = 64;

PageArena Arena() {
  PageArena arena;
  arena.geometry = Geometry{4, 4, 2, kHeadDim};
  arena.page_bytes = 16384;
  arena.page_count = 1000;
  for (int f = 1; f < kFormatCount; ++f) {
    arena.layouts[f] = FitLayout(static_cast<FormatId>(f), kHeadDim, arena.page_bytes);
  }
  return arena;
}

// The profile with other keys, formats and reads: everything that decode looks at.
std::vector<Profile> Variants(const Profile& profile) {
  std::vector<Profile> variants;
  for (const auto& high : kFormatNames) {
    for (const int choice : {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}) {
      Profile variant = profile;
      variant.high = std::string(high.name);
      if ((choice & 1) != 0) variant.rope = "pre";
      if ((choice & 2) != 0) variant.hadamard = 16;
      if ((choice & 4) != 0) variant.balance = "channel";
      if ((choice & 8) != 0) variant.read_tokens = 64;
      variants.push_back(std::move(variant));
    }
  }
  return variants;
}

TEST(SequenceChecksTest, DecodeTakesWhatCompileTakes) {
  const PageArena arena = Arena();
  ModelConfig config;
  config.head_dim = kHeadDim;
  config.max_positions = 1000;
  config.vocabulary = 100;
  const Catalogue catalogue = Catalogue::BuiltIn().value();
  int taken = 0, refused = 0;
  for (const std::string& name : catalogue.Names()) {
    for (const Profile& variant : Variants(*catalogue.Find(name))) {
      const auto recipe = Compile(variant, arena.geometry, RunType::kBf16);
      if (!recipe.ok()) {
        ++refused;
        continue;
      }
      ++taken;
      SequenceOptions options;
      options.prompt_tokens = 100;
      options.max_tokens = 10;
      options.recipe = *recipe;
      const absl::Status status = CheckSequenceOptions(options, config, arena);
      EXPECT_TRUE(status.ok()) << name << " with high " << variant.high << ", rope " << variant.rope << ", hadamard "
                               << variant.hadamard << ", balance " << variant.balance << ", read "
                               << variant.read_tokens << ": " << status;
    }
  }
  EXPECT_GT(taken, 500);
  EXPECT_GT(refused, 500);
}

}  // namespace
}  // namespace decant
