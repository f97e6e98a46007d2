// Quest through prefill, frames and decode: statistics travel with the keys and grow with them, and a step reads what
// it chooses.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "gpu/kernels/pages/key_statistics.h"
#include "tests/gpu/engine/decode_rig.h"
#include "tests/support/test_device.h"

namespace decant {
namespace {

constexpr char kTiny[] = "deploy/models/decant-tiny";

SequenceId Start(DecodeRig& rig, const std::vector<int32_t>& prompt, const Recipe& recipe, int32_t max_tokens) {
  const Poured poured = rig.Prefill(prompt, recipe);
  const SequenceId id = rig.batch().Reserve(rig.Options(prompt, recipe, max_tokens)).value();
  for (const EncodedLayer& layer : poured.layers) EXPECT_TRUE(rig.batch().Import(id, layer.batch).ok());
  EXPECT_TRUE(rig.batch().Join(id, poured.first_token).ok());
  return id;
}

// Every block's entry in pages is that of the keys that stand beside it.
void ExpectStatisticsOfKeys(DecodeRig& rig, SequenceId id) {
  const RowsCopy copy = rig.batch().CopyRows(id).value();
  std::vector<uint8_t> pages(static_cast<size_t>(rig.batch().pages().bytes));
  rig.stream().Copy(pages.data(), rig.batch().pages().address, static_cast<int64_t>(pages.size()));
  const FormatId format = copy.rows.formats[kHigh];
  const PageLayout& layout = copy.arena.layouts[static_cast<int>(format)];
  const int32_t head_dim = rig.config().head_dim;
  for (size_t h = 0; h < copy.heads.size(); ++h) {
    const int32_t tokens = copy.heads[h].tokens[kHigh];
    for (int32_t first = 0; first < tokens; first += layout.tokens) {
      const int32_t count = std::min(layout.tokens, tokens - first);
      const int32_t place = RowPlace(copy.heads[h], copy.rows.capacity, kHigh, first / layout.tokens);
      const int32_t page = copy.page_ids[h * static_cast<size_t>(copy.rows.capacity) + static_cast<size_t>(place)];
      const uint8_t* bytes = pages.data() + page * copy.arena.page_bytes;
      std::vector<uint8_t> expected(static_cast<size_t>(StatisticsBytes(format, head_dim, count)));
      WriteKeyStatistics(bytes + layout.keys, count, head_dim, FormatOf(format).k, expected.data());
      ASSERT_EQ(std::memcmp(bytes + layout.statistics, expected.data(), expected.size()), 0) << "head " << h;
    }
  }
}

TEST(QuestTest, StatisticsComeWithTheFramesAndGrowWithTheAnswer) {
  for (const RunType run_type : {RunType::kF32, RunType::kBf16}) {
    DecodeRig rig(CreateTestDevice(2), kTiny, int64_t{24} << 20, 8, run_type);
    for (const int32_t tokens : {1, 15, 16, 17, 130}) {
      const SequenceId id = Start(rig, rig.Prompt(tokens), rig.RecipeOf("quest"), 40);
      ExpectStatisticsOfKeys(rig, id);
      while (rig.batch().running() > 0) ASSERT_TRUE(rig.batch().Step().ok());
      ExpectStatisticsOfKeys(rig, id);
      rig.batch().Remove(id);
    }
  }
}

TEST(QuestTest, ReadsWhatItChoosesAndIsExactWhereItReadsAll) {
  DecodeRig rig(CreateTestDevice(2), kTiny, int64_t{48} << 20);
  const std::vector<int32_t> prompt = rig.Prompt(1199);
  std::vector<float> logits[3];
  int64_t read[3] = {0, 0, 0};
  Recipe quest = rig.RecipeOf("quest");
  ASSERT_EQ(quest.read.tokens, 512);
  ASSERT_EQ(quest.read.dense_layers, 2);
  Recipe whole = quest;
  whole.read.tokens = 4096;
  size_t i = 0;
  for (const Recipe& recipe : {rig.RecipeOf("full"), whole, quest}) {
    const SequenceId id = Start(rig, prompt, recipe, 4);
    ASSERT_TRUE(rig.batch().Step().ok());
    logits[i] = rig.StepLogits();
    read[i++] = rig.batch().Use(id).value().bytes_read;
    rig.batch().Remove(id);
  }
  EXPECT_LT(LargestDifference(logits[0], logits[1]), 1e-4 * LargestMagnitude(logits[0]));
  EXPECT_EQ(read[0], read[1]);
  EXPECT_GT(LargestDifference(logits[0], logits[2]), 0) << "nothing was left out";
  EXPECT_LT(LargestDifference(logits[0], logits[2]), 0.5 * LargestMagnitude(logits[0]));
  // 1200 tokens with the step's own, 32 of 75 blocks; statistics are bf16 beside f32 keys.
  const double layers = rig.config().layers;
  const double chosen = 512.0 / 1200 + 74.0 * 4 / (1200 * 8);
  EXPECT_NEAR(static_cast<double>(read[2]) / static_cast<double>(read[0]), (2 + (layers - 2) * chosen) / layers, 1e-9);
}

}  // namespace
}  // namespace decant
