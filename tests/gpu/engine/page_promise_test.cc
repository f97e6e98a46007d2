#include "gpu/engine/page_promise.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

namespace decant {
namespace {

int64_t Pages(int64_t tokens, int32_t per_page) { return (tokens + per_page - 1) / per_page; }

// Over every way in which tokens may go low or leave at Join and be appended afterwards.
int64_t MostPagesByTrying(const TierPages& pages, const int32_t (&tokens)[kTierCount], int32_t movable,
                          int32_t growth) {
  int64_t most = 0;
  for (int32_t leaving = 0; leaving <= movable; ++leaving) {
    for (int32_t low = 0; low <= leaving; ++low) {
      for (int32_t appended_low = 0; appended_low <= growth; ++appended_low) {
        const int64_t high = tokens[kHigh] - leaving + growth - appended_low;
        most = std::max(
            most, Pages(high, pages.tokens[kHigh]) + Pages(tokens[kLow] + low + appended_low, pages.tokens[kLow]));
      }
    }
  }
  return most;
}

TEST(PagePromiseTest, CoversEveryWayToMoveAndGrow) {
  for (const auto& [high_page, low_page] : {std::pair{4, 7}, {5, 5}, {3, 9}, {7, 4}}) {
    const TierPages pages{{high_page, low_page, 0}};
    for (int32_t high = 0; high <= 15; ++high) {
      for (int32_t low = 0; low <= 15; ++low) {
        for (int32_t growth = 0; growth <= 6; ++growth) {
          for (const int32_t movable : {0, high}) {
            const int32_t tokens[kTierCount] = {high, low, 0};
            const int64_t promise = GrownHeadPages(pages, tokens, movable, growth);
            const int64_t most = MostPagesByTrying(pages, tokens, movable, growth);
            ASSERT_GE(promise, most) << high << " high, " << low << " low, " << movable << " movable, growth " << growth
                                     << ", pages of " << high_page << " and " << low_page;
            if (low_page >= high_page) {
              ASSERT_EQ(promise, most);
            }
          }
        }
      }
    }
  }
}

TEST(PagePromiseTest, MovingTokensNeverRaisesThePromise) {
  const TierPages pages{{4, 7, 0}};
  for (int32_t high = 0; high <= 20; ++high) {
    for (int32_t low = 0; low <= 10; ++low) {
      for (int32_t growth = 0; growth <= 5; ++growth) {
        const int64_t before = GrownHeadPages(pages, {high, low, 0}, high, growth);
        for (int32_t down = 0; down <= high; ++down) {
          for (int32_t gone = 0; gone + down <= high; ++gone) {
            ASSERT_LE(GrownHeadPages(pages, {high - down - gone, low + down, 0}, 0, growth), before);
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace decant
