#include "services/pool/tier_metrics.h"

#include <string>

#include "common/metrics/names.h"

namespace decant {
namespace {

constexpr char kUpHelp[] = "1 while a tier that was asked for answers, 0 while the pool goes on without it";
constexpr char kLookupHelp[] = "chunks asked for, by the tier they came from; their sum is what was asked for";
constexpr char kWriteHelp[] = "records to be written to a tier";
constexpr char kPrefetchHelp[] = "records loaded before anybody asked for them";

}  // namespace

TierMetrics::TierMetrics(Metrics& metrics, const TieredStats& stats, absl::Span<const Tier> asked)
    : missed_(metrics.AddCounter(metric::kPoolLookupChunks, kLookupHelp, {{"tier", "miss"}})),
      prefetched_(metrics.AddCounter(metric::kPoolPrefetches, kPrefetchHelp, {{"outcome", "loaded"}})),
      prefetch_missed_(metrics.AddCounter(metric::kPoolPrefetches, kPrefetchHelp, {{"outcome", "missed"}})) {
  for (int tier = 0; tier < kTiers; ++tier) {
    found_[static_cast<size_t>(tier)] = metrics.AddCounter(metric::kPoolLookupChunks, kLookupHelp,
                                                           {{"tier", std::string(TierName(static_cast<Tier>(tier)))}});
  }
  for (const Tier tier : asked) {  // what is not there stays at 0
    metrics.AddGauge(metric::kPoolTierUp, kUpHelp, {{"tier", std::string(TierName(tier))}}).Set(0);
  }
  for (const LaneStats& stat : stats.lanes) {
    const std::string tier(TierName(stat.tier));
    const Metrics::Labels labels = {{"tier", tier}};
    const auto write = [&](const char* outcome) {
      return metrics.AddCounter(metric::kPoolTierWrites, kWriteHelp, {{"tier", tier}, {"outcome", outcome}});
    };
    LaneMetrics lane;
    lane.up = metrics.AddGauge(metric::kPoolTierUp, kUpHelp, labels);
    lane.bytes = metrics.AddGauge(metric::kPoolTierBytes, "bytes a tier occupies", labels);
    lane.capacity_bytes = metrics.AddGauge(metric::kPoolTierCapacityBytes,
                                           "what they never exceed; 0: another process bounds it", labels);
    lane.records = metrics.AddGauge(metric::kPoolTierRecords, "records in a tier", labels);
    lane.loads_waiting = metrics.AddGauge(metric::kPoolTierLoadsWaiting, "loads that wait for a tier", labels);
    lane.writes_waiting = metrics.AddGauge(metric::kPoolTierWritesWaiting, "records that wait to be written", labels);
    lane.evicted = metrics.AddCounter(metric::kPoolTierEvicted, "records a tier forgot to make room", labels);
    lane.read_bytes = metrics.AddCounter(metric::kPoolTierReadBytes, "bytes of frames read from a tier", labels);
    lane.written_bytes = metrics.AddCounter(metric::kPoolTierWrittenBytes, "bytes written to a tier", labels);
    lane.written = write("written");
    lane.write_failed = write("failed");
    lane.write_dropped = write("dropped");
    lane.quarantined =
        metrics.AddCounter(metric::kPoolTierQuarantined, "records erased because their bytes were wrong", labels);
    for (int miss = 0; miss < kTierMisses; ++miss) {
      lane.misses[static_cast<size_t>(miss)] =
          metrics.AddCounter(metric::kPoolTierMisses, "reads of a tier that gave nothing",
                             {{"tier", tier}, {"reason", std::string(TierMissName(static_cast<TierMiss>(miss)))}});
    }
    lanes_.push_back(lane);
  }
  shown_.lanes.resize(lanes_.size());
}

void TierMetrics::Show(const TieredStats& stats) {
  const auto add = [](const Counter& counter, int64_t now, int64_t shown) {
    counter.Increment(static_cast<double>(now - shown));
  };
  for (size_t i = 0; i < found_.size(); ++i) add(found_[i], stats.found[i], shown_.found[i]);
  add(missed_, stats.missed, shown_.missed);
  add(prefetched_, stats.prefetched, shown_.prefetched);
  add(prefetch_missed_, stats.prefetch_missed, shown_.prefetch_missed);
  for (size_t i = 0; i < lanes_.size(); ++i) {
    const LaneMetrics& lane = lanes_[i];
    const LaneStats& now = stats.lanes[i];
    const LaneStats& shown = shown_.lanes[i];
    lane.up.Set(now.use.answers ? 1 : 0);
    lane.bytes.Set(static_cast<double>(now.use.bytes));
    lane.capacity_bytes.Set(static_cast<double>(now.use.capacity_bytes));
    lane.records.Set(static_cast<double>(now.use.records));
    lane.loads_waiting.Set(static_cast<double>(now.loads_waiting));
    lane.writes_waiting.Set(static_cast<double>(now.writes_waiting));
    add(lane.evicted, now.use.evicted, shown.use.evicted);
    add(lane.read_bytes, now.read_bytes, shown.read_bytes);
    add(lane.written_bytes, now.written_bytes, shown.written_bytes);
    add(lane.written, now.written, shown.written);
    add(lane.write_failed, now.write_failed, shown.write_failed);
    add(lane.write_dropped, now.write_dropped, shown.write_dropped);
    add(lane.quarantined, now.quarantined, shown.quarantined);
    for (size_t miss = 0; miss < lane.misses.size(); ++miss) {
      add(lane.misses[miss], now.misses[miss], shown.misses[miss]);
    }
  }
  shown_ = stats;
}

}  // namespace decant
