// What Prometheus is told of the tiers.
#include "services/pool/tier_metrics.h"

#include <cstdlib>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/pool/tiers/tiered_store.h"
#include "tests/support/memory_tier.h"
#include "tests/support/record_samples.h"

namespace decant {
namespace {

using record_samples::IdOfNumber;
using record_samples::RecordOf;

// The sum of all series of a name.
double SumOf(const std::string& page, absl::string_view name) {
  double sum = 0;
  for (const absl::string_view line : absl::StrSplit(page, '\n')) {
    if (line.substr(0, name.size()) != name) continue;
    sum += std::atof(std::string(line.substr(line.rfind(' ') + 1)).c_str());
  }
  return sum;
}

TEST(TierMetricsTest, WhereChunksWereFoundAddsUpToWhatWasAskedFor) {
  std::vector<std::unique_ptr<ByteTier>> tiers;
  for (const Tier tier : {Tier::kDisk, Tier::kRemote}) tiers.push_back(std::make_unique<MemoryTier>(tier));
  ByteTier& disk = *tiers[0];
  ByteTier& remote = *tiers[1];
  for (uint64_t i = 0; i < 30; ++i) {
    if (i % 3 == 2) continue;
    ByteTier& tier = i % 3 == 0 ? disk : remote;
    ASSERT_TRUE(tier.Put(IdOfNumber(i), EncodeRecord(RecordOf(i)), absl::InfiniteFuture()).ok());
  }
  ASSERT_TRUE(disk.Put(IdOfNumber(2), "rubbish", absl::InfiniteFuture()).ok());
  TieredStore store({}, std::move(tiers));
  Metrics metrics;
  TierMetrics shown(metrics, store.stats());
  EXPECT_THAT(metrics.Render(), testing::HasSubstr("decant_pool_lookup_chunks_total{tier=\"device\"} 0"));
  for (uint64_t i = 0; i < 30; ++i) {
    store.LoadAndWait(IdOfNumber(i), {});
    if (i == 11) shown.Show(store.stats());
  }
  store.CountHost(5);
  store.CountUnknown(3);
  shown.Show(store.stats());
  shown.Show(store.stats());  // nothing new
  const std::string page = metrics.Render();
  EXPECT_EQ(SumOf(page, "decant_pool_lookup_chunks_total{"), 38);
  for (const char* series :
       {"decant_pool_lookup_chunks_total{tier=\"host\"} 5", "decant_pool_lookup_chunks_total{tier=\"disk\"} 10",
        "decant_pool_lookup_chunks_total{tier=\"remote\"} 10", "decant_pool_lookup_chunks_total{tier=\"miss\"} 13",
        "decant_pool_tier_records_quarantined_total{tier=\"disk\"} 1",
        "decant_pool_tier_misses_total{reason=\"damaged\",tier=\"disk\"} 1",
        "decant_pool_tier_misses_total{reason=\"absent\",tier=\"disk\"} 19",
        "decant_pool_tier_read_bytes_total{tier=\"remote\"} 3000", "decant_pool_tier_records{tier=\"disk\"} 10"}) {
    EXPECT_THAT(page, testing::HasSubstr(series));
  }
}

}  // namespace
}  // namespace decant
