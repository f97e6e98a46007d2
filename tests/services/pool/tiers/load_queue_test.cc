#include "services/pool/tiers/load_queue.h"

#include <vector>

#include "gtest/gtest.h"

namespace decant {
namespace {

absl::Time At(int seconds) { return absl::FromUnixSeconds(seconds); }

std::vector<uint64_t> PopAll(LoadQueue& queue) {
  std::vector<uint64_t> ids;
  while (const std::optional<uint64_t> id = queue.Pop()) ids.push_back(*id);
  return ids;
}

TEST(LoadQueueTest, PriorityGoesBeforeDeadlineAndDeadlineBeforeAge) {
  LoadQueue queue(10);
  queue.Push(1, 0, At(5));
  queue.Push(2, 0, At(3));
  queue.Push(3, 7, At(9));
  queue.Push(4, 0, At(3));
  queue.Push(5, 7, absl::InfiniteFuture());
  EXPECT_EQ(PopAll(queue), (std::vector<uint64_t>{3, 5, 2, 4, 1}));
}

TEST(LoadQueueTest, FullItKeepsTheMoreUrgent) {
  LoadQueue queue(2);
  EXPECT_FALSE(queue.Push(1, 1, At(1)).has_value());
  EXPECT_FALSE(queue.Push(2, 5, At(1)).has_value());
  EXPECT_EQ(queue.Push(3, 0, At(1)), 3u);  // itself
  EXPECT_EQ(queue.Push(4, 9, At(1)), 1u);
  EXPECT_EQ(PopAll(queue), (std::vector<uint64_t>{4, 2}));
}

TEST(LoadQueueTest, APrefetchSomebodyNowWaitsForMovesUpAndNeverDown) {
  LoadQueue queue(10);
  queue.Push(1, 0, At(9));
  queue.Push(2, 1, At(9));
  queue.Push(1, 5, At(1));
  queue.Push(1, 0, At(0));
  EXPECT_EQ(queue.size(), 2u);
  EXPECT_EQ(PopAll(queue), (std::vector<uint64_t>{1, 2}));
}

TEST(LoadQueueTest, WhatIsRemovedIsNotPopped) {
  LoadQueue queue(10);
  queue.Push(1, 0, At(1));
  queue.Push(2, 0, At(1));
  queue.Remove(1);
  queue.Remove(7);
  EXPECT_FALSE(queue.contains(1));
  EXPECT_EQ(PopAll(queue), std::vector<uint64_t>{2});
}

}  // namespace
}  // namespace decant
