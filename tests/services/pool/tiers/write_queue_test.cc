#include "services/pool/tiers/write_queue.h"

#include <algorithm>
#include <vector>

#include "common/base/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/record_samples.h"

namespace decant {
namespace {

using record_samples::IdOfNumber;
using record_samples::RecordOf;

std::shared_ptr<const Record> Shared(uint64_t number) { return std::make_shared<const Record>(RecordOf(number)); }

TEST(WriteQueueTest, WhatIsCancelledWaitsNoMoreAndTheRestKeepsItsOrder) {
  WriteQueue queue(int64_t{1} << 20);
  for (uint64_t i = 0; i < 5; ++i) ASSERT_TRUE(queue.Push(IdOfNumber(i), Shared(i)));
  EXPECT_EQ(queue.Pop().first, IdOfNumber(0));
  for (const uint64_t cancelled : {0, 1, 3, 9}) queue.Cancel(IdOfNumber(cancelled));
  EXPECT_NE(queue.Find(IdOfNumber(0)), nullptr) << "it is being written";
  EXPECT_EQ(queue.Find(IdOfNumber(1)), nullptr);
  EXPECT_EQ(queue.records(), 3u);
  queue.Done();
  for (const uint64_t next : {2, 4}) {
    EXPECT_EQ(queue.Pop().first, IdOfNumber(next));
    queue.Done();
  }
  EXPECT_TRUE(queue.idle());
  EXPECT_EQ(queue.bytes(), 0);
}

TEST(WriteQueueTest, EqualsAListUnderRandomUse) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    uint64_t draw = 0;
    const auto next = [&](uint64_t below) { return MixBits(seed, draw++) % below; };
    WriteQueue queue(int64_t{1} << 30);
    std::vector<uint64_t> order;
    for (int step = 0; step < 500; ++step) {
      const uint64_t number = next(12);
      const auto place = std::find(order.begin(), order.end(), number);
      switch (next(3)) {
        case 0:
          ASSERT_TRUE(queue.Push(IdOfNumber(number), Shared(number)));
          if (place == order.end()) order.push_back(number);
          break;
        case 1:
          queue.Cancel(IdOfNumber(number));
          if (place != order.end()) order.erase(place);
          break;
        default:
          if (queue.idle()) break;
          ASSERT_EQ(queue.Pop().first, IdOfNumber(order.front())) << "seed " << seed;
          queue.Done();
          order.erase(order.begin());
      }
      ASSERT_EQ(queue.records(), order.size());
      ASSERT_EQ(queue.Find(IdOfNumber(number)) != nullptr,
                std::find(order.begin(), order.end(), number) != order.end());
    }
  }
}

}  // namespace
}  // namespace decant
