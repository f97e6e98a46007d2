// Encode -> frames -> pages -> read back: what the pages hold is what was encoded, however it arrives.
#include <gtest/gtest.h>

#include <string>

#include "gpu/kernels/codec/frame_runs.h"
#include "tests/gpu/kernels/codec/codec_rig.h"
#include "tests/gpu/kernels/pages/page_rig.h"
#include "tests/support/test_device.h"

namespace decant {
namespace {

class ImportFramesTest : public ::testing::TestWithParam<KernelDevice> {
 protected:
  static RigOptions Options() {
    RigOptions options;
    options.geometry = Geometry{2, 4, 2, 24};
    options.page_count = 128;
    options.page_bytes = 1024;
    options.fixed = FormatId::kFullF32;
    options.device = GetParam().create;
    return options;
  }
};
DECANT_ON_KERNEL_DEVICES(ImportFramesTest);

std::vector<ImportRun> RunsOf(const std::string& batch, FormatId fixed) {
  const FormatId formats[kTierCount] = {FormatId::kK8V4, FormatId::kK4V2, fixed};
  std::vector<ImportRun> runs;
  const auto parts = SplitBatch(batch);
  EXPECT_TRUE(parts.ok()) << parts.status();
  for (const BatchPart& part : *parts) EXPECT_TRUE(AppendImportRuns(part, 0, formats, runs).ok());
  return runs;
}

void ExpectPrompt(PageRig& rig, int32_t layer, const PromptLayer& prompt, int32_t first_position, bool with_scores) {
  const FormatId formats[] = {FormatId::kK8V4, FormatId::kK4V2};
  for (int32_t head = 0; head < 2; ++head) {
    for (int32_t tier = 0; tier < 2; ++tier) {
      const std::vector<StoredToken> stored = rig.Tokens(0, layer, head, tier);
      size_t i = 0;
      for (int32_t t = 0; t < prompt.tokens; ++t) {
        const auto index = static_cast<size_t>(head * prompt.tokens + t);
        if (prompt.tiers[index] != tier) continue;
        ASSERT_LT(i, stored.size());
        EXPECT_EQ(stored[i].position, first_position + t);
        EXPECT_EQ(stored[i].score, with_scores ? prompt.scores[index] : 0.0f);
        EXPECT_EQ(stored[i].k, ScalarRoundTrip(prompt.key(head, t), 24, FormatOf(formats[tier]).k));
        EXPECT_EQ(stored[i].v, ScalarRoundTrip(prompt.value(head, t), 24, FormatOf(formats[tier]).v));
        ++i;
      }
      EXPECT_EQ(i, stored.size());
    }
  }
}

TEST_P(ImportFramesTest, PagesHoldWhatWasEncoded) {
  const auto device = CreateTestDevice(2);
  for (const int32_t tokens : {1, 8, 9, 33, 100}) {
    for (const bool with_scores : {false, true}) {
      const PromptLayer prompt = RandomPrompt(static_cast<uint64_t>(tokens), RunType::kBf16, 2, 24, tokens, true);
      const EncodedPrompt encoded = EncodePrompt(*device, prompt, FormatId::kK8V4, FormatId::kK4V2, 16, with_scores);
      PageRig rig(Options());
      rig.GrowAndImport(0, 1, encoded.batch, RunsOf(encoded.batch, FormatId::kNone));
      EXPECT_FALSE(rig.TookError());
      ExpectPrompt(rig, 1, prompt, 0, with_scores);
      EXPECT_EQ(rig.Head(0, 0, 0).tokens[kHigh], 0);  // the other layer
    }
  }
}

// D1: the released prompt kernel stored s_scores[rank] beside s_positions[rank] of another token. N = 200 is its case.
TEST_P(ImportFramesTest, D1ScoresStayWithTheirTokens) {
  const auto device = CreateTestDevice(2);
  const PromptLayer prompt = RandomPrompt(1, RunType::kF32, 2, 24, 200, true);
  const EncodedPrompt encoded = EncodePrompt(*device, prompt, FormatId::kK8V4, FormatId::kK4V2, 64, true);
  PageRig rig(Options());
  rig.GrowAndImport(0, 0, encoded.batch, RunsOf(encoded.batch, FormatId::kNone));
  ExpectPrompt(rig, 0, prompt, 0, true);
}

TEST_P(ImportFramesTest, ChunkByChunkEqualsAllAtOnce) {
  const auto device = CreateTestDevice(2);
  const PromptLayer prompt = RandomPrompt(3, RunType::kF32, 2, 24, 90, true);
  const EncodedPrompt encoded = EncodePrompt(*device, prompt, FormatId::kK8V4, FormatId::kK4V2, 16, true);
  PageRig rig(Options());
  const auto parts = SplitBatch(encoded.batch);
  ASSERT_TRUE(parts.ok());
  for (const BatchPart& part : *parts) {
    const std::string chunk = std::string(part.frame.bytes) + std::string(part.overlay->bytes);
    rig.GrowAndImport(0, 0, chunk, RunsOf(chunk, FormatId::kNone));
  }
  ExpectPrompt(rig, 0, prompt, 0, true);
  PageRig whole(Options());
  whole.GrowAndImport(0, 0, encoded.batch, RunsOf(encoded.batch, FormatId::kNone));
  EXPECT_EQ(rig.FreePages(), whole.FreePages());
}

TEST_P(ImportFramesTest, FormatsMixInOneRow) {
  const auto device = CreateTestDevice(2);
  PromptLayer prefix = RandomPrompt(4, RunType::kF32, 2, 24, 32, false);
  PromptLayer suffix = RandomPrompt(5, RunType::kF32, 2, 24, 20, true);
  const std::string full = EncodePrompt(*device, prefix, FormatId::kFullF32, FormatId::kNone, 16, false).batch;
  const std::string tiers = EncodePrompt(*device, suffix, FormatId::kK8V4, FormatId::kK4V2, 16, false).batch;
  PageRig rig(Options());
  // The tiers first: the fixed run then moves the high pages.
  std::vector<ImportRun> runs = RunsOf(tiers, FormatId::kFullF32);
  for (ImportRun& run : runs) run.first_position += 32;
  rig.GrowAndImport(0, 0, tiers, runs);
  rig.GrowAndImport(0, 0, full, RunsOf(full, FormatId::kFullF32));
  EXPECT_FALSE(rig.TookError());
  ExpectPrompt(rig, 0, suffix, 32, false);
  for (int32_t head = 0; head < 2; ++head) {
    const std::vector<StoredToken> fixed = rig.Tokens(0, 0, head, kFixed);
    ASSERT_EQ(fixed.size(), 32u);
    for (int32_t t = 0; t < 32; ++t) {
      const StoredToken& token = fixed[static_cast<size_t>(t)];
      EXPECT_EQ(token.k, std::vector<float>(prefix.key(head, t), prefix.key(head, t) + 24));
      EXPECT_EQ(token.v, std::vector<float>(prefix.value(head, t), prefix.value(head, t) + 24));
    }
  }
}

TEST_P(ImportFramesTest, HeadWithoutHighTokensHasNoHighPage) {
  const auto device = CreateTestDevice(2);
  PromptLayer prompt = RandomPrompt(6, RunType::kF32, 2, 24, 20, true);
  for (size_t i = 0; i < 20; ++i) prompt.tiers[i] = 1 + prompt.tiers[i] / 2;  // head 0: low or pruned
  const EncodedPrompt encoded = EncodePrompt(*device, prompt, FormatId::kK8V4, FormatId::kK4V2, 16, true);
  PageRig rig(Options());
  rig.GrowAndImport(0, 0, encoded.batch, RunsOf(encoded.batch, FormatId::kNone));
  EXPECT_EQ(rig.Head(0, 0, 0).pages[kHigh], 0);
  EXPECT_GT(rig.Head(0, 0, 0).pages[kLow], 0);
  ExpectPrompt(rig, 0, prompt, 0, true);
  // The row goes on from there.
  rig.SetLength(0, 20);
  rig.Plan();
  rig.Append(1.0f);
  EXPECT_EQ(rig.Head(0, 0, 0).pages[kHigh], 1);
  EXPECT_EQ(rig.Tokens(0, 0, 0, kHigh).at(0).position, 20);
}

TEST_P(ImportFramesTest, RunWithoutPagesIsNotWritten) {
  const auto device = CreateTestDevice(2);
  const PromptLayer prompt = RandomPrompt(7, RunType::kF32, 2, 24, 40, true);
  const EncodedPrompt encoded = EncodePrompt(*device, prompt, FormatId::kK8V4, FormatId::kK4V2, 64, true);
  RigOptions options = Options();
  options.page_count = 1;
  PageRig rig(options);
  rig.GrowAndImport(0, 0, encoded.batch, RunsOf(encoded.batch, FormatId::kNone));
  EXPECT_TRUE(rig.TookError());
  EXPECT_EQ(rig.Head(0, 0, 0).tokens[kHigh], 0);
}

TEST_P(ImportFramesTest, FormatTheRowDoesNotHaveIsRefused) {
  const auto device = CreateTestDevice(1);
  const PromptLayer prompt = RandomPrompt(8, RunType::kF32, 1, 24, 8, false);
  const std::string full = EncodePrompt(*device, prompt, FormatId::kFullF32, FormatId::kNone, 16, false).batch;
  const FormatId formats[kTierCount] = {FormatId::kK8V4, FormatId::kK4V2, FormatId::kNone};
  std::vector<ImportRun> runs;
  EXPECT_EQ(AppendImportRuns(SplitBatch(full)->at(0), 0, formats, runs).code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace decant
