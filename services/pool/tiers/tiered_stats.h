// What a tiered store counts. Sums since the start, except where said otherwise.
#ifndef DECANT_SERVICES_POOL_TIERS_TIERED_STATS_H_
#define DECANT_SERVICES_POOL_TIERS_TIERED_STATS_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "common/store/tier.h"

namespace decant {

struct LaneStats {
  Tier tier = Tier::kDisk;
  TierUse use;
  std::array<int64_t, kTierMisses> misses{};  // reads of this tier that gave nothing, by reason
  int64_t read_bytes = 0;                     // of good records
  int64_t written = 0;
  int64_t written_bytes = 0;
  int64_t write_failed = 0;   // the tier would not take them
  int64_t write_dropped = 0;  // the queue was full
  int64_t quarantined = 0;    // records erased because their bytes were wrong
  std::string failure;        // the latest of a read or write, for people
  int64_t loads_waiting = 0;  // now
  int64_t writes_waiting = 0;
  int64_t writes_waiting_bytes = 0;
};

// asked == host + the found of all lanes + missed, once no load is on its way. Prefetches are in none of them.
struct TieredStats {
  int64_t asked = 0;
  std::array<int64_t, kTiers> found{};
  int64_t missed = 0;
  int64_t prefetched = 0;
  int64_t prefetch_missed = 0;
  std::vector<LaneStats> lanes;
};

}  // namespace decant

#endif  // DECANT_SERVICES_POOL_TIERS_TIERED_STATS_H_
