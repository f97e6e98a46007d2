// The pool under pressure and across a restart, as requests see it.
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/metrics/names.h"
#include "tests/e2e/cluster.h"

namespace decant {
namespace {

std::unique_ptr<Cluster> Start(const ClusterOptions& options) {
  auto cluster = Cluster::Start(options);
  DECANT_CHECK_MSG(cluster.ok(), "%s", cluster.status().ToString().c_str());
  return *std::move(cluster);
}

// A chunk of `full` takes 0.4 MB in f32, so that three documents fill 6 MB past the ladder's mark.
TEST(PoolTest, ReencodesColdChunksOnItsDeviceBeforeItForgetsAny) {
  ClusterOptions options;
  options.pool_flags = {"--pool-bytes", "6MB"};
  const auto cluster = Start(options);
  const auto launches = [&] { return MetricSum(cluster->pool.metrics, metric::kPoolReencodeLaunches); };
  for (uint64_t document = 1; document <= 3; ++document) {
    const auto answer = cluster->Generate(Request(Document(document, 250), "full", 4));
    ASSERT_TRUE(answer.ok()) << answer.status();
  }
  EXPECT_TRUE(WaitUntil([&] { return launches() > 0; }).ok());
  EXPECT_TRUE(WaitUntil([&] { return MetricSum(cluster->pool.metrics, metric::kPoolReencodeFreed) > 0; }).ok());
  const double stored = MetricSum(cluster->pool.metrics, metric::kPoolStoredBytes);
  EXPECT_LE(stored, MetricSum(cluster->pool.metrics, metric::kPoolCapacityBytes));
  const auto again = cluster->Generate(Request(Document(1, 250), "full", 4));
  EXPECT_TRUE(again.ok()) << again.status();
}

// Two documents too many for it, and nothing is re-encoded: the least recently used goes.
TEST(PoolTest, AnEmptyLadderIsNone) {
  ClusterOptions options;
  options.pool_flags = {"--pool-bytes", "3MB", "--ladder", ""};
  const auto cluster = Start(options);
  for (uint64_t document = 1; document <= 3; ++document) {
    const auto answer = cluster->Generate(Request(Document(document, 250), "full", 4));
    ASSERT_TRUE(answer.ok()) << answer.status();
  }
  EXPECT_TRUE(WaitUntil([&] { return MetricSum(cluster->pool.metrics, metric::kPoolEvicted) > 0; }).ok());
  EXPECT_EQ(MetricSum(cluster->pool.metrics, metric::kPoolReencodeLaunches), 0);
}

TEST(PoolTest, GenerationNeverFailsWhileThePoolIsRestarted) {
  const auto cluster = Start({});
  std::atomic<bool> stop{false};
  std::atomic<int> answers{0};
  std::atomic<bool> failed{false};
  absl::Status failure;  // once `failed`
  std::thread client([&] {
    for (uint64_t i = 0; !stop; ++i) {
      const auto answer = cluster->Generate(Request(Document(i % 3, 120), "k8v4", 4));
      if (!answer.ok()) {
        failure = answer.status();
        failed = true;
        break;
      }
      ++answers;
    }
  });
  const auto more = [&](int count) {
    const int from = answers;
    return WaitUntil([&] { return answers >= from + count || failed; });
  };
  EXPECT_TRUE(more(3).ok());
  cluster->pool.process->Signal(SIGKILL);
  ASSERT_TRUE(cluster->pool.process->WaitExit(absl::Now() + kPatience).ok());
  EXPECT_TRUE(more(3).ok());
  ASSERT_TRUE(cluster->RestartPool().ok());
  EXPECT_TRUE(more(3).ok());
  // It is found again: chunks are published to it.
  EXPECT_TRUE(WaitUntil([&] { return MetricSum(cluster->pool.metrics, metric::kPoolChunks) > 0; }).ok());
  stop = true;
  client.join();
  EXPECT_TRUE(failure.ok()) << failure;
}

}  // namespace
}  // namespace decant
