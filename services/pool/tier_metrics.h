// The metrics of the tiers: the store counts, this shows.
#ifndef DECANT_SERVICES_POOL_TIER_METRICS_H_
#define DECANT_SERVICES_POOL_TIER_METRICS_H_

#include <array>
#include <vector>

#include "absl/types/span.h"
#include "services/pool/tiers/tiered_stats.h"
#include "services/rpc/metrics.h"

namespace decant {

class TierMetrics {
 public:
  // `stats` names the tiers, `asked` those that should be there; every series is there from the start. `metrics` must
  // outlive it.
  TierMetrics(Metrics& metrics, const TieredStats& stats, absl::Span<const Tier> asked = {});

  // Sets the gauges and adds to the counters what happened since the last call. Not thread-safe.
  void Show(const TieredStats& stats);

 private:
  struct LaneMetrics {
    Gauge up, bytes, capacity_bytes, records, loads_waiting, writes_waiting;
    Counter evicted, read_bytes, written_bytes, written, write_failed, write_dropped, quarantined;
    std::array<Counter, kTierMisses> misses;
  };

  TieredStats shown_;
  std::array<Counter, kTiers> found_;
  Counter missed_, prefetched_, prefetch_missed_;
  std::vector<LaneMetrics> lanes_;
};

}  // namespace decant

#endif  // DECANT_SERVICES_POOL_TIER_METRICS_H_
