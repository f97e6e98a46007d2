#include "gpu/device/thread_team.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace decant {
namespace {

TEST(ThreadTeamTest, RunsEveryIndexOnce) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadTeam team(threads);
    for (const int64_t count : {0, 1, 2, 3, 7, 8, 9, 1000}) {
      std::vector<std::atomic<int>> seen(static_cast<size_t>(count));
      team.Run(count, [&](int64_t index, int thread) {
        EXPECT_GE(thread, 0);
        EXPECT_LT(thread, threads);
        seen[static_cast<size_t>(index)].fetch_add(1);
      });
      for (const auto& times : seen) EXPECT_EQ(times.load(), 1);
    }
  }
}

TEST(ThreadTeamTest, NoThreadNumberRunsTwoBodiesAtATime) {
  ThreadTeam team(4);
  std::vector<std::atomic<int>> inside(4);
  team.Run(2000, [&](int64_t, int thread) {
    EXPECT_EQ(inside[static_cast<size_t>(thread)].fetch_add(1), 0);
    inside[static_cast<size_t>(thread)].fetch_sub(1);
  });
}

TEST(ThreadTeamTest, ManyShortLoopsNeverMixTheirBodies) {
  ThreadTeam team(3);
  for (int64_t loop = 0; loop < 20000; ++loop) {
    std::atomic<int64_t> sum{0};
    team.Run(loop % 5 + 2, [&](int64_t index, int) { sum.fetch_add(loop + index); });
    const int64_t count = loop % 5 + 2;
    ASSERT_EQ(sum.load(), loop * count + count * (count - 1) / 2);
  }
}

TEST(ThreadTeamTest, ALoopInsideALoopRunsOnItsOwnThread) {
  ThreadTeam team(2);
  std::atomic<int> inner{0};
  team.Run(4, [&](int64_t, int) { team.Run(5, [&](int64_t, int) { inner.fetch_add(1); }); });
  EXPECT_EQ(inner.load(), 20);
}

TEST(ThreadTeamTest, SeveralCallersShareATeam) {
  ThreadTeam team(3);
  std::atomic<int64_t> total{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&] {
      for (int loop = 0; loop < 500; ++loop) team.Run(9, [&](int64_t, int) { total.fetch_add(1); });
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(total.load(), 4 * 500 * 9);
}

}  // namespace
}  // namespace decant
