#include "common/kv/page.h"

#include <gtest/gtest.h>

#include "common/kv/rows.h"

namespace decant {
namespace {

constexpr FormatId kAll[] = {FormatId::kFullF32, FormatId::kFullBf16, FormatId::kK8V4, FormatId::kK4V2};
constexpr FormatId kDiffKv[] = {FormatId::kK8V4, FormatId::kK4V2};

TEST(PageTest, BytesOfATokenAreThoseOfTheReference) {
  // diffkv.md section 4.1: 192 + 16 bytes at K8V4 and 96 + 16 at K4V2 with 128 dimensions.
  EXPECT_EQ(TokenBytes(FormatId::kK8V4, 128), 208);
  EXPECT_EQ(TokenBytes(FormatId::kK4V2, 128), 112);
  EXPECT_EQ(TokenBytes(FormatId::kFullBf16, 128), 512);
  EXPECT_EQ(TokenBytes(FormatId::kFullF32, 64), 512);
}

// D12: the released code disagreed with itself about where positions start.
TEST(PageTest, ARaggedLastGroupHasAPairOfItsOwn) {
  EXPECT_EQ(MetaBytes(Element::kGroup4, 32), 4);
  EXPECT_EQ(MetaBytes(Element::kGroup4, 40), 8);
  EXPECT_EQ(MetaBytes(Element::kGroup2, 8), 4);
}

TEST(PageTest, D12SegmentsAreAlignedAndDoNotOverlap) {
  for (const FormatId id : kAll) {
    for (int32_t head_dim = 8; head_dim <= 256; head_dim += 8) {
      const Format format = FormatOf(id);
      for (int32_t tokens : {1, 7, 32, 37, 60}) {
        const PageLayout layout = LayoutFor(id, head_dim, tokens);
        const int64_t starts[] = {layout.keys,   layout.key_meta,  layout.values,     layout.value_meta,
                                  layout.scores, layout.positions, layout.statistics, layout.end};
        const int64_t sizes[] = {tokens * VectorBytes(format.k, head_dim), MetaSegmentBytes(format.k, head_dim, tokens),
                                 tokens * VectorBytes(format.v, head_dim), MetaSegmentBytes(format.v, head_dim, tokens),
                                 format.tracked ? 4 * tokens : 0,          format.tracked ? 4 * tokens : 0,
                                 StatisticsBytes(id, head_dim, tokens)};
        for (int i = 0; i < 7; ++i) {
          EXPECT_EQ(starts[i] % kSegmentAlignment, 0);
          EXPECT_LE(starts[i] + sizes[i], starts[i + 1]);
          EXPECT_LT(starts[i + 1] - starts[i] - sizes[i], kSegmentAlignment);
        }
      }
    }
  }
}

TEST(PageTest, OneTokenMoreDoesNotFit) {
  for (const FormatId id : kAll) {
    for (int32_t head_dim = 32; head_dim <= 256; head_dim += 8) {
      const int64_t bytes = ChoosePageBytes(head_dim, kAll, 4, 2048);
      const PageLayout layout = FitLayout(id, head_dim, bytes);
      EXPECT_GE(layout.tokens, 16);
      EXPECT_LE(layout.end, bytes);
      EXPECT_GT(LayoutFor(id, head_dim, layout.tokens + 1).end, bytes);
      EXPECT_EQ(bytes % 64, 0);
    }
  }
}

// Bytes of the pages of rows of about 2k tokens as a share of 2 bytes per element.
double ShareOfFp16(FormatId id, int32_t head_dim, int64_t page_bytes) {
  const int32_t per_page = FitLayout(id, head_dim, page_bytes).tokens;
  double pages = 0;
  double tokens = 0;
  for (int32_t row = 1900; row < 2200; ++row) {
    pages += (row + per_page - 1) / per_page;
    tokens += row;
  }
  return pages * static_cast<double>(page_bytes) / (tokens * 4 * head_dim);
}

TEST(PageTest, WastesLittleAtSmallHeads) {
  for (const bool with_full : {false, true}) {
    const int64_t bytes = with_full ? ChoosePageBytes(64, kAll + 1, 3, 2048) : ChoosePageBytes(64, kDiffKv, 2, 2048);
    // 16 bytes of metadata weigh more at 64 dimensions than at 128: 43.75 % and 25 % without any waste.
    EXPECT_GT(ShareOfFp16(FormatId::kK8V4, 64, bytes), 0.4375) << bytes;
    EXPECT_LE(ShareOfFp16(FormatId::kK8V4, 64, bytes), 0.45) << bytes;
    EXPECT_GT(ShareOfFp16(FormatId::kK4V2, 64, bytes), 0.25) << bytes;
    EXPECT_LE(ShareOfFp16(FormatId::kK4V2, 64, bytes), 0.27) << bytes;
  }
}

TEST(PageTest, RowsGrowFromBothEnds) {
  HeadState head;
  head.pages[kFixed] = 3;
  EXPECT_EQ(RowPlace(head, 20, kFixed, 2), 2);
  EXPECT_EQ(RowPlace(head, 20, kHigh, 0), 3);
  EXPECT_EQ(RowPlace(head, 20, kLow, 0), 19);
  EXPECT_EQ(RowPlace(head, 20, kLow, 4), 15);
}

}  // namespace
}  // namespace decant
