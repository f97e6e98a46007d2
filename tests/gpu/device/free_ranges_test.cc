#include "gpu/device/free_ranges.h"

#include <gtest/gtest.h>

#include <vector>

#include "common/base/random.h"

namespace decant {
namespace {

TEST(FreeRangesTest, GivesWhatFitsBestAndJoinsNeighbours) {
  FreeRanges ranges(1024, 256);
  EXPECT_EQ(ranges.Take(1), 0);
  EXPECT_EQ(ranges.Take(257), 256);
  EXPECT_EQ(ranges.free_bytes(), 256);
  EXPECT_EQ(ranges.Take(257), -1);
  ranges.Give(0, 1);
  EXPECT_EQ(ranges.free_bytes(), 512);
  EXPECT_EQ(ranges.largest(), 256);
  EXPECT_EQ(ranges.Take(300), -1);
  ranges.Give(256, 257);
  EXPECT_EQ(ranges.largest(), 1024);
  EXPECT_EQ(ranges.Take(1024), 0);
  EXPECT_EQ(ranges.Take(1), -1);
  ranges.Give(0, 512);
  ranges.Give(768, 256);
  EXPECT_EQ(ranges.Take(256), 768);  // not the beginning of the larger one before it
  EXPECT_EQ(ranges.Take(256), 0);
}

TEST(FreeRangesTest, NothingIsLostOrGivenTwice) {
  constexpr int64_t kUnits = 64;
  FreeRanges ranges(kUnits * 16, 16);
  struct Held {
    int64_t offset, bytes;
  };
  std::vector<Held> held;
  std::vector<int> owners(kUnits);
  for (uint64_t step = 0; step < 4000; ++step) {
    if (MixBits(1, step) % 2 == 0 || held.empty()) {
      const auto bytes = static_cast<int64_t>(MixBits(2, step) % 160 + 1);
      const int64_t offset = ranges.Take(bytes);
      if (offset < 0) {
        EXPECT_GT(bytes, ranges.largest());
        continue;
      }
      for (int64_t u = offset / 16; u < (offset + bytes + 15) / 16; ++u) ASSERT_EQ(owners[static_cast<size_t>(u)]++, 0);
      held.push_back(Held{offset, bytes});
    } else {
      const size_t which = MixBits(3, step) % held.size();
      const Held gone = held[which];
      held.erase(held.begin() + static_cast<int64_t>(which));
      for (int64_t u = gone.offset / 16; u < (gone.offset + gone.bytes + 15) / 16; ++u)
        --owners[static_cast<size_t>(u)];
      ranges.Give(gone.offset, gone.bytes);
    }
  }
  for (const Held& left : held) ranges.Give(left.offset, left.bytes);
  EXPECT_EQ(ranges.largest(), kUnits * 16);
  EXPECT_EQ(ranges.free_bytes(), kUnits * 16);
}

}  // namespace
}  // namespace decant
