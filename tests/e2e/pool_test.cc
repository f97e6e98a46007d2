// The pool under pressure and across a restart, as requests see it.
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/metrics/names.h"
#include "tests/e2e/cluster.h"
#include "tests/support/record_samples.h"
#include "tests/support/redis_server.h"

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

  // What was re-encoded serves those who take it, beside chunks that still are what they were.
  int32_t reused = 0;
  int32_t reencoded = 0;
  for (uint64_t document = 1; document <= 3; ++document) {
    const auto answer = cluster->Generate(Request(Document(document, 250), "k8v4", 4));
    ASSERT_TRUE(answer.ok()) << answer.status();
    const auto why = ExplainOnce(cluster->router.address, answer->request_id);
    ASSERT_TRUE(why.ok()) << why.status();
    reused += answer->finished.prefix_tokens_reused();
    for (const auto& part : why->parts()) reencoded += part.encoded_from_size() > 0 ? part.tokens() : 0;
  }
  EXPECT_GT(reencoded, 0);
  EXPECT_GE(reused, reencoded);
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

// A pool with a disk tier; `folder` outlives the cluster.
ClusterOptions WithDisk(const record_samples::TemporaryFolder& folder) {
  ClusterOptions options;
  options.pool_flags = {"--disk", folder.path(), "--disk-bytes", "256MB"};
  return options;
}

// Of the tokens that a request reused.
int32_t TokensFrom(const Cluster& cluster, const std::string& request, const std::string& tier) {
  const auto why = ExplainOnce(cluster.router.address, request);
  EXPECT_TRUE(why.ok()) << why.status();
  int32_t tokens = 0;
  for (const auto& part : why->parts()) tokens += part.tier() == tier ? part.tokens() : 0;
  return tokens;
}

void KillAndRestart(Cluster& cluster) {
  cluster.pool.process->Signal(SIGKILL);
  ASSERT_TRUE(cluster.pool.process->WaitExit(absl::Now() + kPatience).ok());
  ASSERT_TRUE(cluster.RestartPool().ok());
}

// Every request for a while, of what is asked for first; then the answer of one whose KV comes from where `tier` says.
absl::StatusOr<Generated> UntilFrom(Cluster& cluster, const v1::GenerateRequest& request, const std::string& tier) {
  absl::StatusOr<Generated> answer;
  const absl::Status came = WaitUntil([&] {
    answer = cluster.Generate(request);
    return !answer.ok() || TokensFrom(cluster, answer->request_id, tier) > 0;
  });
  return came.ok() ? answer : came;
}

// Flips a bit in every 64 KiB of every file that holds records.
int Damage(const std::string& folder) {
  int flips = 0;
  for (const auto& file : std::filesystem::recursive_directory_iterator(folder)) {
    if (file.path().extension() != ".blob") continue;
    std::fstream bytes(file.path(), std::ios::in | std::ios::out | std::ios::binary);
    for (uint64_t at = 4096; at < file.file_size(); at += 64 << 10, ++flips) {
      bytes.seekg(static_cast<std::streamoff>(at));
      const auto flipped = static_cast<char>(bytes.get() ^ 4);
      bytes.seekp(static_cast<std::streamoff>(at));
      bytes.put(flipped);
    }
  }
  return flips;
}

TEST(PoolTest, ServesFromDiskWhatItHeldBeforeItWasKilled) {
  const record_samples::TemporaryFolder folder;
  const auto cluster = Start(WithDisk(folder));
  const v1::GenerateRequest request = Request(Document(1, 250), "full", 8);
  const auto cold = cluster->Generate(request);
  ASSERT_TRUE(cold.ok()) << cold.status();
  ASSERT_TRUE(WaitUntil([&] { return MetricSum(cluster->pool.metrics, metric::kPoolTierRecords) > 0; }).ok());
  ASSERT_TRUE(UntilFrom(*cluster, request, "host").ok());
  KillAndRestart(*cluster);
  EXPECT_GT(MetricSum(cluster->pool.metrics, metric::kPoolChunksBelow), 0);
  const auto warm = UntilFrom(*cluster, request, "disk");
  ASSERT_TRUE(warm.ok()) << warm.status();
  EXPECT_EQ(warm->tokens, cold->tokens);
}

// A volume whose bytes rot is one that is computed again: right answers, and what is wrong is counted and erased.
TEST(PoolTest, DamagedDiskIsQuarantinedAndComputedAgain) {
  const record_samples::TemporaryFolder folder;
  const auto cluster = Start(WithDisk(folder));
  const v1::GenerateRequest request = Request(Document(2, 250), "full", 8);
  const auto cold = cluster->Generate(request);
  ASSERT_TRUE(cold.ok()) << cold.status();
  ASSERT_TRUE(UntilFrom(*cluster, request, "host").ok());
  ASSERT_TRUE(WaitUntil([&] { return MetricSum(cluster->pool.metrics, metric::kPoolTierRecords) > 0; }).ok());
  KillAndRestart(*cluster);  // what its log held is in files of records now
  cluster->pool.process->Signal(SIGKILL);
  ASSERT_TRUE(cluster->pool.process->WaitExit(absl::Now() + kPatience).ok());
  ASSERT_GT(Damage(folder.path()), 0);
  ASSERT_TRUE(cluster->RestartPool().ok());
  const auto quarantined = [&] { return MetricSum(cluster->pool.metrics, metric::kPoolTierQuarantined); };
  ASSERT_TRUE(WaitUntil([&] {
                const auto answer = cluster->Generate(request);
                EXPECT_TRUE(answer.ok()) << answer.status();
                EXPECT_EQ(answer->tokens, cold->tokens);
                return !answer.ok() || quarantined() > 0;
              }).ok());
  const auto again = UntilFrom(*cluster, request, "host");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->tokens, cold->tokens);
}

// Three documents where one and a half have room: the others are in a real redis-server, and when that hangs what it
// has is computed.
TEST(PoolTest, WhatMemoryForgetsComesBackFromARemoteServerUntilThatHangs) {
  const record_samples::TemporaryFolder folder;
  const auto redis = RedisServer::Start(folder.path() + "/redis");
  ASSERT_TRUE(redis.ok()) << redis.status();
  ClusterOptions options;
  options.pool_flags = {"--pool-bytes", "3MB",  "--ladder",       "", "--remote", folder.path() + "/redis",
                        "--write",      "back", "--load-seconds", "1"};
  const auto cluster = Start(options);
  std::vector<std::vector<int32_t>> cold;
  for (uint64_t document = 0; document < 3; ++document) {
    const auto answer = cluster->Generate(Request(Document(document, 250), "full", 8));
    ASSERT_TRUE(answer.ok()) << answer.status();
    cold.push_back(answer->tokens);
  }
  ASSERT_TRUE(WaitUntil([&] { return MetricSum(cluster->pool.metrics, metric::kPoolChunksBelow) > 0; }).ok());
  const auto warm = UntilFrom(*cluster, Request(Document(0, 250), "full", 8), "remote");
  ASSERT_TRUE(warm.ok()) << warm.status();
  EXPECT_EQ(warm->tokens, cold[0]);
  (*redis)->Stop();
  for (uint64_t document = 0; document < 3; ++document) {
    const auto answer = cluster->Generate(Request(Document(document, 250), "full", 8));
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_EQ(answer->tokens, cold[document]);
  }
  EXPECT_GT(MetricSum(cluster->pool.metrics, metric::kPoolTierMisses), 0);
  (*redis)->Continue();
}

TEST(PoolTest, GenerationNeverFailsWhileThePoolIsRestarted) {
  const record_samples::TemporaryFolder folder;
  const auto cluster = Start(WithDisk(folder));
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
  const std::string from_disk = absl::StrCat(metric::kPoolLookupChunks, "{tier=\"disk\"}");
  EXPECT_TRUE(more(3).ok());
  EXPECT_TRUE(WaitUntil([&] { return MetricSum(cluster->pool.metrics, metric::kPoolTierRecords) > 0; }).ok());
  cluster->pool.process->Signal(SIGKILL);
  ASSERT_TRUE(cluster->pool.process->WaitExit(absl::Now() + kPatience).ok());
  EXPECT_TRUE(more(3).ok());
  ASSERT_TRUE(cluster->RestartPool().ok());
  EXPECT_TRUE(more(3).ok());
  // It is found again: chunks are published to it.
  EXPECT_TRUE(WaitUntil([&] { return MetricSum(cluster->pool.metrics, metric::kPoolChunks) > 0; }).ok());
  // And what it held is found on its disk.
  EXPECT_TRUE(WaitUntil([&] { return MetricSum(cluster->pool.metrics, from_disk) > 0; }).ok());
  stop = true;
  client.join();
  EXPECT_TRUE(failure.ok()) << failure;
}

}  // namespace
}  // namespace decant
