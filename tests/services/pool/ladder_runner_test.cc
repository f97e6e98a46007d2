#include "services/pool/ladder_runner.h"

#include <gtest/gtest.h>

#include "absl/time/clock.h"
#include "services/rpc/metrics.h"
#include "tests/services/pool/pool_rig.h"

namespace decant {
namespace {

using namespace pool_rig;

PoolStats StatsOf(SharedPool& shared) {
  return shared.With([](Pool& pool, absl::Time) { return pool.stats(); });
}

TEST(LadderRunnerTest, MakesRoomWhileThePoolGoesOn) {
  Pool probe(PoolLimits(), TestCatalogue(), TestTables());
  ASSERT_TRUE(PublishAll(probe, kStart, PromptOf(1, 1), "full").ok());
  PoolLimits limits;
  limits.capacity_bytes = 20 * probe.tier().bytes();
  limits.ladder = {"full", "k8v4", "k4v2"};
  Metrics metrics;
  const auto shared = std::make_shared<SharedPool>(limits, TestCatalogue(), TestTables(), metrics);
  const auto device = CreateHostDevice(1);
  LadderRunnerOptions options;
  options.every = absl::Milliseconds(1);
  options.batch_bytes = int64_t{1} << 20;
  const auto runner = LadderRunner::Start(shared, *device, options);
  ASSERT_TRUE(runner.ok()) << runner.status();
  shared->With([](Pool& pool, absl::Time now) { return PublishAll(pool, now, PromptOf(1, 20), "full").ok(); });
  const absl::Time limit = absl::Now() + absl::Seconds(30);
  while (StatsOf(*shared).reencoded == 0 && absl::Now() < limit) absl::SleepFor(absl::Milliseconds(1));
  const PoolStats stats = StatsOf(*shared);
  EXPECT_GT(stats.reencoded, 0);
  EXPECT_GT(stats.reencode_launches, 0);
  EXPECT_EQ(stats.evicted, 0);
  EXPECT_EQ(stats.ladder_failed, 0);
}

TEST(LadderRunnerTest, SaysWhenTheDeviceHasNoRoom) {
  Metrics metrics;
  const auto shared = std::make_shared<SharedPool>(PoolLimits(), TestCatalogue(), TestTables(), metrics);
  const auto device = CreateHostDevice(1);
  LadderRunnerOptions options;
  options.batch_bytes = int64_t{1} << 60;
  EXPECT_EQ(LadderRunner::Start(shared, *device, options).status().code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace decant
