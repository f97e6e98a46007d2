#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "common/base/random.h"
#include "tests/gpu/kernels/pages/page_rig.h"

namespace decant {
namespace {

using ::testing::ElementsAre;
using ::testing::UnorderedElementsAreArray;

constexpr FormatId kTight = FormatId::kK8V4;

// Cases run on every device that has page operations.
class RingTest : public ::testing::TestWithParam<KernelDevice> {
 protected:
  static RigOptions OneHead(int32_t pages, int32_t sequences = 1) {
    RigOptions options;
    options.page_count = pages;
    options.sequences = sequences;
    options.capacity = 64;
    options.device = GetParam().create;
    return options;
  }
};
using GrowRowsTest = RingTest;
using CountRowsTest = RingTest;
DECANT_ON_KERNEL_DEVICES(RingTest);
DECANT_ON_KERNEL_DEVICES(GrowRowsTest);
DECANT_ON_KERNEL_DEVICES(CountRowsTest);

int32_t PageTokens(const PageRig& rig, FormatId id) { return rig.arena().layouts[static_cast<int32_t>(id)].tokens; }

// D4: after the last page the released ring could not tell full from empty.
TEST_P(RingTest, D4HandsOutTheVeryLastPageAndThenHasNone) {
  PageRig rig(OneHead(5));
  const int32_t page = PageTokens(rig, kTight);
  rig.Grow(0, 0, {5 * page, 0, 0, 0});
  EXPECT_FALSE(rig.TookError());
  EXPECT_EQ(rig.FreePages(), 0);
  rig.Grow(0, 0, {5 * page + 1, 0, 0, 0});
  EXPECT_TRUE(rig.TookError());
  EXPECT_EQ(rig.Head(0, 0, 0).pages[kHigh], 5);
  rig.Release(0);
  EXPECT_EQ(rig.FreePages(), 5);
  EXPECT_EQ(rig.Head(0, 0, 0).pages[kHigh], 0);
}

TEST_P(RingTest, WrapsAtEveryOffset) {
  constexpr int32_t kPages = 7;
  for (int32_t offset = 0; offset < 2 * kPages; ++offset) {
    PageRig rig(OneHead(kPages));
    const int32_t page = PageTokens(rig, kTight);
    for (int32_t i = 0; i < offset; ++i) {
      rig.Grow(0, 0, {1, 0, 0, 0});
      rig.Release(0);
    }
    rig.Grow(0, 0, {kPages * page, 0, 0, 0});
    EXPECT_FALSE(rig.TookError());
    EXPECT_EQ(rig.FreePages(), 0);
    std::vector<int32_t> all(kPages);
    std::iota(all.begin(), all.end(), 0);
    EXPECT_THAT(rig.PageIds(0, 0, 0, kHigh), UnorderedElementsAreArray(all)) << offset;
    rig.Release(0);
    EXPECT_EQ(rig.FreePages(), kPages);
  }
}

// Interleaved growth and release of several sequences: every page is always in exactly one place.
TEST_P(RingTest, NoPageIsLostOrHeldTwice) {
  RigOptions options = OneHead(23, 3);
  options.geometry = Geometry{1, 2, 2, 8};
  PageRig rig(options);
  const int32_t page = PageTokens(rig, kTight);
  for (uint64_t step = 0; step < 300; ++step) {
    const auto s = static_cast<int32_t>(MixBits(1, step) % 3);
    if (MixBits(2, step) % 4 == 0) {
      rig.Release(s);
    } else {
      // Token counts stay 0, so growth is what the tier shall hold in all.
      const auto tokens = [&](uint64_t salt) {
        return static_cast<int32_t>(MixBits(salt, step) % (3u * static_cast<uint32_t>(page)));
      };
      rig.Grow(s, 0, {tokens(3), tokens(4), 0, 0, tokens(5), tokens(6), 0, 0});
      rig.TookError();
    }
    std::vector<int32_t> places = rig.FreeIds();
    for (int32_t sequence = 0; sequence < 3; ++sequence) {
      for (int32_t head = 0; head < 2; ++head) {
        for (const int32_t tier : {kHigh, kLow}) {
          const auto ids = rig.PageIds(sequence, 0, head, tier);
          places.insert(places.end(), ids.begin(), ids.end());
        }
      }
    }
    std::sort(places.begin(), places.end());
    ASSERT_EQ(places.size(), 23u);
    for (int32_t id = 0; id < 23; ++id) ASSERT_EQ(places[static_cast<size_t>(id)], id) << "step " << step;
  }
}

TEST_P(GrowRowsTest, TakesPagesInTheOrderOfHeadsAndTiers) {
  RigOptions options = OneHead(20);
  options.geometry = Geometry{1, 2, 2, 8};
  options.fixed = FormatId::kFullBf16;
  PageRig rig(options);
  const int32_t high = PageTokens(rig, FormatId::kK8V4);
  const int32_t low = PageTokens(rig, FormatId::kK4V2);
  rig.Grow(0, 0, {high + 1, low, 1, 0, 1, 0, 0, 0});
  EXPECT_THAT(rig.PageIds(0, 0, 0, kHigh), ElementsAre(0, 1));
  EXPECT_THAT(rig.PageIds(0, 0, 0, kLow), ElementsAre(2));
  EXPECT_THAT(rig.PageIds(0, 0, 0, kFixed), ElementsAre(3));
  EXPECT_THAT(rig.PageIds(0, 0, 1, kHigh), ElementsAre(4));
  rig.Grow(0, 0, {0, 0, 0, 0, 0, 0, 0, 0});
  EXPECT_EQ(rig.FreePages(), 15);
}

TEST_P(GrowRowsTest, FixedRunGrowsUnderAHighTierThatIsThere) {
  RigOptions options = OneHead(20);
  options.fixed = FormatId::kFullBf16;
  PageRig rig(options);
  const int32_t high = PageTokens(rig, FormatId::kK8V4);
  const int32_t fixed = PageTokens(rig, FormatId::kFullBf16);
  rig.Grow(0, 0, {2 * high, 0, 1, 0});
  rig.Grow(0, 0, {0, 0, 2 * fixed, 0});
  EXPECT_THAT(rig.PageIds(0, 0, 0, kHigh), ElementsAre(0, 1));
  EXPECT_THAT(rig.PageIds(0, 0, 0, kFixed), ElementsAre(2, 3));
}

TEST_P(GrowRowsTest, ExactlyFullTierTakesItsNextPageWithItsNextToken) {
  for (const int32_t more : {0, 1}) {
    PageRig rig(OneHead(20));
    const int32_t page = PageTokens(rig, kTight);
    rig.Grow(0, 0, {page + more, 0, 0, 0});
    EXPECT_EQ(rig.Head(0, 0, 0).pages[kHigh], 1 + more);
  }
}

TEST_P(GrowRowsTest, RowWithoutRoomIsLeftAsItWas) {
  RigOptions options = OneHead(20);
  options.capacity = 3;
  PageRig rig(options);
  const int32_t high = PageTokens(rig, FormatId::kK8V4);
  const int32_t low = PageTokens(rig, FormatId::kK4V2);
  rig.Grow(0, 0, {2 * high, 2 * low, 0, 0});
  EXPECT_TRUE(rig.TookError());
  EXPECT_EQ(rig.FreePages(), 20);
  rig.Grow(0, 0, {2 * high, low, 0, 0});
  EXPECT_FALSE(rig.TookError());
  EXPECT_EQ(rig.FreePages(), 17);
}

TEST_P(CountRowsTest, SumsOverLayersAndHeads) {
  RigOptions options = OneHead(40, 2);
  options.geometry = Geometry{2, 2, 2, 8};
  options.fixed = FormatId::kFullBf16;
  PageRig rig(options);
  const int32_t low = PageTokens(rig, FormatId::kK4V2);
  for (int32_t layer = 0; layer < 2; ++layer) rig.Grow(1, layer, {1, low + 1, 0, 0, 0, 0, 1, 0});
  rig.Plan();
  rig.Append(1.0f);
  EXPECT_THAT(rig.Counts(1), ElementsAre(4, 0, 0, 0, 4, 4, 2, 0));
  rig.Release(1);
  EXPECT_THAT(rig.Counts(1), ElementsAre(0, 0, 0, 0, 0, 0, 0, 0));
  EXPECT_THAT(rig.Counts(0), ElementsAre(4, 0, 0, 0, 4, 0, 0, 0));
}

}  // namespace
}  // namespace decant
